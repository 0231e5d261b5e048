"""ExecuTorch: its torch-free runtime package, or the `executorch` package, which brings torch."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edge.backends.record import Backend
from edge.interface import Interface
from edge.runtime.binding import Binding, Carried, Runtime

NOT_INSTALLED = 'the executorch backend is not installed: pip install "stem-edge[executorch]"'


def executorch_package() -> str | None:
    """The installed package that runs .pte files: the torch-free one first; None where there is none."""
    for name in ("executorch_numpy_runtime", "executorch"):
        with contextlib.suppress(ValueError):  # sys.modules may hold a module without a spec
            if importlib.util.find_spec(name) is not None:
                return name
    return None


def _missing() -> str | None:
    package = executorch_package()
    if package is None or (package == "executorch" and importlib.util.find_spec("torch") is None):
        return NOT_INSTALLED
    return None


def _prepare() -> None:
    package = executorch_package()
    assert package is not None
    with quiet_stderr():
        if package == "executorch":
            importlib.import_module("torch")  # its libraries must be there before the next module
            _bindings()
            package = "executorch.kernels.quantized"  # registers the int8 operators that are not delegated
        importlib.import_module(package)


def _bindings() -> Any:
    """The executorch package's own module: not executorch.runtime, which pulls in the whole exporter."""
    folder = "executorch.extension.pybindings"
    name = "_C" if importlib.util.find_spec(f"{folder}._C") else "_portable_lib"  # since 1.5, and before
    return importlib.import_module(f"{folder}.{name}")


def _load(path: str, threads: int, interface: Interface) -> Runtime:
    """The program at `path`; `threads` is set for the whole process."""
    torch_free = executorch_package() == "executorch_numpy_runtime"
    return ExecutorchNumpy(path, threads) if torch_free else ExecutorchTorch(path, threads)


class ExecutorchNumpy:
    """The torch-free package. A method plans its memory once: one run at a time."""

    def __init__(self, path: str, threads: int):
        import executorch_numpy_runtime

        with quiet_stderr(), _processors(threads):
            # not its content: the runtime keeps the file open, and of the weights only what it has packed
            self._program = executorch_numpy_runtime.Runtime.get().load_program(path)
            self._method = self._program.load_method("forward")
        self._threads, self._lock, self._fresh = threads, threading.Lock(), True

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self._lock, quiet_stderr() if self._fresh else contextlib.nullcontext(), _processors(self._threads):
            self._fresh = False  # the first call prepares the delegate, with notices
            return self._method(inputs)

    def bind(self, interface: Interface) -> Binding:
        return Carried(interface, self.run)


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


class ExecutorchTorch:
    """The executorch package. A method plans its memory once: one run at a time; its outputs are copies."""

    def __init__(self, path: str, threads: int):
        with quiet_stderr():
            import torch

            bindings = _bindings()
            torch.set_num_threads(threads)
            bindings._unsafe_reset_threadpool(threads)
            self._program = bindings._load_program(path)  # maps the file; the method needs it and the program
            self._method = self._program.load_method("forward")
        self._tensor, self._lock = torch.from_numpy, threading.Lock()

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = self._run_tensors([self._tensor(np.ascontiguousarray(array)) for array in inputs])
        return [tensor.numpy() for tensor in tensors]

    def _run_tensors(self, tensors: list[Any]) -> list[Any]:
        with self._lock:
            return self._method(tensors)

    def bind(self, interface: Interface) -> Binding:
        return Carried(interface, self._run_tensors, self._tensor, lambda tensor: tensor.numpy())


class _QuietStderr:
    """Descriptor 2 belongs to the whole process: the first that wants it quiet swaps it, the last swaps it back."""

    def __init__(self) -> None:
        self._lock, self._inside, self._saved = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            try:
                self._saved = os.dup(2)
            except OSError:  # closed: nothing to hide
                return
            with open(os.devnull, "wb") as sink:
                os.dup2(sink.fileno(), 2)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._saved >= 0:
                os.dup2(self._saved, 2)
                os.close(self._saved)
                self._saved = -1


_quiet_stderr = _QuietStderr()


def quiet_stderr() -> contextlib.AbstractContextManager[None]:
    """Hide what native code prints on stderr (processor look-up, thread-pool notices), not exceptions."""
    return _quiet_stderr


def _version() -> str:
    """The two packages have the versions of the runtime in them."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a module without its package's files
        return importlib.metadata.version((executorch_package() or "").replace("_", "-"))
    return ""


EXECUTORCH = Backend("executorch", "model.pte", _missing, _prepare, _load, package="executorch", version=_version)
