"""Loads a bundle's graph into a runtime: a function from arrays to arrays, which every stream `bind`s to buffers of
its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.backends import BACKENDS, backend_named, import_backend
from edge.errors import EdgeError, InputError
from edge.interface import Interface
from edge.runtime.binding import Binding, Carried, Runtime

if TYPE_CHECKING:  # what a device does not need takes no memory there
    from edge.bundle import Bundle
    from edge.manifest import Manifest

Graph = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class LoadedGraph:
    """A bundle's graph in a runtime, to be shared by any number of streams and threads.

    Calling it with float32 arrays in the order of interface.inputs gives those of interface.outputs, the caller's own.
    Raises EdgeError where the graph does not run.
    """

    def __init__(self, interface: Interface, failure: str, runtime: Runtime):
        self._interface, self._failure, self._runtime = interface, failure, runtime
        self._expected = [spec.shape for spec in interface.outputs]

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
            return _Checked(self._runtime.bind(self._interface), self._failure)
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
    """Load the bundle's graph of one backend; `threads` may hold for the whole process (ExecuTorch).

    Raises InputError where the bundle or this installation lacks the backend, EdgeError where the graph does not
    load or run.
    """
    path = bundle.graph_path(backend)
    advice = "it computes in fp16, which needs ARMv8.2 or x86 with F16C" if bundle.manifest.graphs[backend].half else ""
    try:
        return load_file(path, backend, bundle.manifest, threads, str(bundle.path), advice)
    except InputError:
        raise
    except EdgeError as error:
        raise EdgeError(f"{error}{_versions(bundle.manifest, backend)}") from error


def load_file(
    path: Path, backend: str, interface: Interface, threads: int = 1, where: str = "", advice: str = ""
) -> LoadedGraph:
    """Load a graph's file, which no bundle needs to hold; `where` and `advice` go into errors. Raises as load_graph."""
    if threads < 1:
        raise InputError("threads must be at least 1")
    where = where or str(path.parent)
    try:
        import_backend(backend)
        runtime = backend_named(backend).load(str(path), threads, interface)
    except EdgeError:
        raise
    except Exception as error:
        raise EdgeError(f"{where}: {path.name} does not load in {backend}: {_line(error)}") from error
    failure = f"{where}: {path.name} failed in {backend}{f' ({advice})' if advice else ''}"
    return LoadedGraph(interface, failure, runtime)


def _versions(manifest: Manifest, backend: str) -> str:
    """In words: that of the runtime which the graph was made for, and the installed one; "" where they are the same."""
    runtime = backend_named(backend)
    made, installed = manifest.tools.get(runtime.package), runtime.version()
    if made is None or made == installed:
        return ""
    least = manifest.graphs[backend].least_runtime
    needs = f" and needs {least} or newer" if least else ""
    return f" (made with {runtime.package} {made}{needs}; installed: {installed or 'of unknown version'})"


def bind(interface: Interface, graph: Graph) -> Binding:
    """Buffers of one stream for a loaded graph, or for any function from arrays to arrays."""
    return graph.bind() if isinstance(graph, LoadedGraph) else Carried(interface, graph)


def default_backend(bundle: Bundle) -> str:
    """ONNX where the bundle has it, ExecuTorch otherwise."""
    return next(name for name in BACKENDS if name in bundle.manifest.graphs)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
