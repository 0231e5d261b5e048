"""Loads a bundle's graph into a runtime: a function from arrays to arrays. Neither backend needs torch, except
the `executorch` package itself, which brings its own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edge.bundle import FORMATS, Bundle
from edge.errors import EdgeError, InputError

Graph = Callable[[Sequence[np.ndarray]], list[np.ndarray]]

BACKENDS = FORMATS
NO_EXECUTORCH = 'the executorch backend is not installed: pip install "stem-edge[executorch]"'


def load_graph(bundle: Bundle, backend: str, threads: int = 1) -> Graph:
    """A callable that runs the bundle's graph: float32 arrays in the order of manifest.inputs to those of
    manifest.outputs; the arrays returned are the caller's own.

    `backend` is "onnx" or "executorch"; `threads` is set for the whole process in the latter. Raises InputError
    where the bundle or this installation lacks the backend, EdgeError where the graph does not load or run.
    """
    if threads < 1:
        raise InputError("threads must be at least 1")
    path = bundle.graph_path(backend)
    load = {"onnx": _load_onnx, "executorch": _load_executorch}[backend]
    try:
        import_backend(backend)
        run = load(str(path), threads)
    except EdgeError:
        raise
    except Exception as error:  # the runtimes raise their own types, plain RuntimeError among them
        raise EdgeError(f"{bundle.path}: {path.name} does not load in {backend}: {_line(error)}") from error
    expected = [spec.shape for spec in bundle.manifest.outputs]

    def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        try:
            outputs = run(inputs)
        except Exception as error:
            raise EdgeError(f"{bundle.path}: {path.name} failed in {backend}: {_line(error)}") from error
        if [o.shape for o in outputs] != expected:
            raise EdgeError(f"{bundle.path}: {path.name} does not give the outputs that the manifest lists")
        return outputs

    return call


def import_backend(backend: str) -> None:
    """Import the backend's package, which can take longer than loading a graph; InputError where it is missing."""
    if backend == "onnx":
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default since 1.29; read at import
        importlib.import_module("onnxruntime")
        return
    package = executorch_package()
    if package is None or (package == "executorch" and importlib.util.find_spec("torch") is None):
        raise InputError(NO_EXECUTORCH)
    with _quiet_stderr():
        if package == "executorch":
            importlib.import_module("torch")  # its libraries must be there before the next module
            # Not executorch.runtime: it pulls in the whole exporter, which no graph needs.
            importlib.import_module("executorch.extension.pybindings._portable_lib")
            package = "executorch.kernels.quantized"  # registers the int8 operators that are not delegated
        importlib.import_module(package)


def default_backend(bundle: Bundle) -> str:
    """ONNX where the bundle has it, ExecuTorch otherwise."""
    return next(format for format in FORMATS if format in bundle.manifest.graphs)


def executorch_package() -> str | None:
    """The installed package that runs .pte files: the torch-free one first; None where there is none."""
    for name in ("executorch_numpy_runtime", "executorch"):
        with contextlib.suppress(ValueError):  # sys.modules may hold a module without a spec
            if importlib.util.find_spec(name) is not None:
                return name
    return None


def _load_onnx(path: str, threads: int) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # failures come back as exceptions
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def _load_executorch(path: str, threads: int) -> Graph:
    if executorch_package() == "executorch_numpy_runtime":
        return _load_executorch_numpy(path, threads)
    return _load_executorch_torch(path, threads)


def _load_executorch_numpy(path: str, threads: int) -> Graph:
    import executorch_numpy_runtime

    with open(path, "rb") as file:
        content = file.read()
    with _quiet_stderr(), _processors(threads):
        program = executorch_numpy_runtime.Runtime.get().load_program(content)
        method = program.load_method("forward")
    fresh = True

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        nonlocal fresh
        _ = content  # the program reads these bytes for as long as it lives
        with _quiet_stderr() if fresh else contextlib.nullcontext(), _processors(threads):
            fresh = False  # the first call prepares the delegate, with notices
            return method(inputs)

    return run


@contextlib.contextmanager
def _processors(count: int) -> Iterator[None]:
    """Let this thread, and threads that it starts, use `count` processors only.

    executorch_numpy_runtime's thread pool has no setting: it has a thread a processor, which inherit this.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if count >= len(usable):
        yield
        return
    first = os.getpid() % len(usable)  # several processes should not all sit on the same ones
    os.sched_setaffinity(0, {usable[(first + i) % len(usable)] for i in range(count)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


def _load_executorch_torch(path: str, threads: int) -> Graph:
    with _quiet_stderr():
        import torch
        from executorch.extension.pybindings import _portable_lib

        torch.set_num_threads(threads)
        _portable_lib._unsafe_reset_threadpool(threads)
        with open(path, "rb") as file:
            content = file.read()
        program = _portable_lib._load_program_from_buffer(content)
        method = program.load_method("forward")

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        _ = content, program  # the method reads both for as long as it lives
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs]
        return [tensor.numpy() for tensor in method(tensors)]

    return run


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide what native code prints on stderr (processor look-up, thread-pool notices), not exceptions."""
    stderr = 2
    try:
        saved = os.dup(stderr)
    except OSError:  # closed: nothing to hide
        yield
        return
    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), stderr)
            yield
    finally:
        os.dup2(saved, stderr)
        os.close(saved)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
