"""Loads a bundle's graph into a runtime: a function from arrays to arrays, which every stream `bind`s to buffers of
its own. Neither backend needs torch, except the `executorch` package itself, which brings its own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence

import numpy as np

from edge.bundle import FORMATS, Bundle
from edge.errors import EdgeError, InputError
from edge.manifest import Manifest
from edge.runtime.binding import Binding, Carried, Runtime
from edge.runtime.executorch_backend import load_executorch, quiet_stderr
from edge.runtime.onnx_backend import Onnx

Graph = Callable[[Sequence[np.ndarray]], list[np.ndarray]]

BACKENDS = FORMATS
NO_EXECUTORCH = 'the executorch backend is not installed: pip install "stem-edge[executorch]"'


class LoadedGraph:
    """A bundle's graph in a runtime, to be shared by any number of streams and threads.

    Calling it with float32 arrays in the order of manifest.inputs gives those of manifest.outputs, the caller's own.
    Raises EdgeError where the graph does not run.
    """

    def __init__(self, manifest: Manifest, failure: str, runtime: Runtime):
        self._manifest, self._failure, self._runtime = manifest, failure, runtime
        self._expected = [spec.shape for spec in manifest.outputs]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        try:
            outputs = self._runtime.run(inputs)
        except Exception as error:  # the runtimes raise their own types, plain RuntimeError among them
            raise EdgeError(f"{self._failure}: {_line(error)}") from error
        if [o.shape for o in outputs] != self._expected:
            raise EdgeError(f"{self._failure}: it does not give the outputs that the manifest lists")
        return outputs

    def bind(self) -> Binding:
        """Buffers for one stream, in which the runtime reads and writes without copies where it can."""
        try:
            return _Checked(self._runtime.bind(self._manifest), self._failure)
        except Exception as error:
            raise EdgeError(f"{self._failure}: {_line(error)}") from error


class _Checked:
    """A binding whose failures are EdgeErrors."""

    def __init__(self, bound: Binding, failure: str):
        self._bound, self._failure = bound, failure
        self.input, self.reset = bound.input, bound.reset

    @property
    def output(self) -> np.ndarray:
        return self._bound.output

    def run(self) -> None:
        try:
            self._bound.run()
        except Exception as error:
            raise EdgeError(f"{self._failure}: {_line(error)}") from error


def load_graph(bundle: Bundle, backend: str, threads: int = 1) -> LoadedGraph:
    """Load the bundle's graph of one backend.

    `backend` is "onnx" or "executorch"; `threads` is set for the whole process in the latter. Raises InputError
    where the bundle or this installation lacks the backend, EdgeError where the graph does not load or run.
    """
    if threads < 1:
        raise InputError("threads must be at least 1")
    path = bundle.graph_path(backend)
    try:
        import_backend(backend)
        runtime: Runtime = (
            Onnx(str(path), threads) if backend == "onnx" else load_executorch(str(path), executorch_package(), threads)
        )
    except EdgeError:
        raise
    except Exception as error:
        raise EdgeError(f"{bundle.path}: {path.name} does not load in {backend}: {_line(error)}") from error
    failure = f"{bundle.path}: {path.name} failed in {backend}"
    if bundle.manifest.graphs[backend].half:
        failure += " (it computes in fp16, which needs ARMv8.2 or x86 with F16C)"
    return LoadedGraph(bundle.manifest, failure, runtime)


def bind(manifest: Manifest, graph: Graph) -> Binding:
    """Buffers of one stream for a loaded graph, or for any function from arrays to arrays."""
    return graph.bind() if isinstance(graph, LoadedGraph) else Carried(manifest, graph)


def import_backend(backend: str) -> None:
    """Import the backend's package, which can take longer than loading a graph; InputError where it is missing."""
    if backend == "onnx":
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default since 1.29; read at import
        importlib.import_module("onnxruntime")
        return
    package = executorch_package()
    if package is None or (package == "executorch" and importlib.util.find_spec("torch") is None):
        raise InputError(NO_EXECUTORCH)
    with quiet_stderr():
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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
