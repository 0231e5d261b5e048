"""Runs one bundle on one backend in a process of its own, so that its memory is its own and a crash is contained."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from edge.backends import import_backend
from edge.benchmarks.memory import peak_memory_bytes
from edge.bundle import Bundle, open_bundle
from edge.errors import EdgeError, InputError
from edge.manifest import Manifest
from edge.runtime.binding import Binding
from edge.runtime.golden import check_golden
from edge.runtime.graphs import Graph, LoadedGraph, bind, load_graph

_OVERHEAD_HOPS = 200
_WARM_BELOW = 0.02  # seconds: a shorter run is repeated untimed at the start of a slice, when its caches are cold


def serve(connection: Connection, path: str, backend: str, threads: int) -> None:
    """Load the graph, check it against the golden output, then answer requests until None comes.

    Sends `{"error", "exit_code"}` or the description of the case; then each request n gives the seconds of n runs,
    list of float; "overhead" gives `measure_overhead` and `measure_native`; after None it sends `{"peak_bytes"}` and
    returns.
    """

    def prepare() -> tuple[dict[str, Any], Callable[[Any], Any]]:
        bundle = open_bundle(path)
        import_backend(backend)
        started = time.perf_counter()
        graph = load_graph(bundle, backend, threads)
        loaded = time.perf_counter()
        hops = Hops(bundle.manifest, graph)
        times = {"load_seconds": loaded - started, "first_seconds": hops.run(1)[0]}
        description = describe(bundle, backend) | times | {"golden_snr_db": check_golden(bundle, backend, graph)}

        def answer(request: Any) -> Any:
            if request == "overhead":
                return measure_overhead(bundle.manifest, graph) | measure_native(bundle, backend, threads)
            return hops.run(request)

        return description, answer

    answer_requests(connection, prepare)


def answer_requests(connection: Connection, prepare: Callable[[], tuple[dict[str, Any], Callable[[Any], Any]]]) -> None:
    """The protocol of every measuring process: what `prepare` describes, then answers until None comes."""
    try:
        description, answer = prepare()
        connection.send(description)
        while (request := connection.recv()) is not None:
            connection.send(answer(request))
        connection.send({"peak_bytes": peak_memory_bytes()})
    except EdgeError as error:
        connection.send({"error": str(error), "exit_code": error.exit_code})
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return  # the parent has gone or is stopping


class Hops:
    """Times single runs of a graph on noise, in buffers of its own as a stream's, an enhancer's state carried on."""

    def __init__(self, manifest: Manifest, graph: Graph):
        self._bound = bind(manifest, graph)
        shape = self._bound.input.shape
        self._bound.input[...] = 0.1 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        self._last = 0.0

    def run(self, count: int) -> list[float]:
        """Seconds of each of `count` runs; short ones follow one that is not timed."""
        if self._last and self._last < _WARM_BELOW:
            self._timed()
        seconds = [self._timed() for _ in range(count)]
        self._last = min(seconds)
        return seconds

    def _timed(self) -> float:
        started = time.perf_counter()
        self._bound.run()
        return time.perf_counter() - started


class _TimedGraph(LoadedGraph):
    """A loaded graph whose bindings add up the time of their runs."""

    def __init__(self, graph: LoadedGraph):
        vars(self).update(vars(graph))
        self.seconds = 0.0

    def bind(self) -> Binding:
        return _TimedBinding(self, super().bind())


class _TimedBinding:
    def __init__(self, graph: _TimedGraph, bound: Binding):
        self._graph, self._bound = graph, bound
        self.input, self.output, self.reset = bound.input, bound.output, bound.reset

    def run(self) -> None:
        started = time.perf_counter()
        self._bound.run()
        self._graph.seconds += time.perf_counter() - started
        self.output = self._bound.output


def measure_overhead(manifest: Manifest, graph: LoadedGraph) -> dict[str, float]:
    """What the streaming session adds to the graph's own run, per hop: seconds, share of the hop, share of its work.

    Nothing of a separator, whose session lets whole segments through.
    """
    if manifest.task != "enhance":
        return {}
    from edge.runtime.streams import EnhancerStream

    timed = _TimedGraph(graph)
    stream = EnhancerStream(manifest, timed)
    audio = 0.1 * np.random.default_rng(0).standard_normal(manifest.hop, dtype=np.float32)
    total, outside = [], []
    for _ in range(_OVERHEAD_HOPS):
        timed.seconds = 0.0
        started = time.perf_counter()
        stream.process(audio)
        total.append(time.perf_counter() - started)
        outside.append(total[-1] - timed.seconds)
    seconds = statistics.median(outside)
    return {
        "overhead_seconds": seconds,
        "overhead_share": seconds * manifest.sample_rate / manifest.hop,
        "overhead_share_of_work": seconds / statistics.median(total),
    }


def measure_native(bundle: Bundle, backend: str, threads: int) -> dict[str, float]:
    """Seconds of a hop through the native library, the graph's run included; nothing of a separator, and where the
    library or its backend is not installed."""
    if bundle.manifest.task != "enhance":
        return {}
    try:
        from edge.native.session import NativeBundle, NativeStream, StreamOptions

        stream = NativeStream(NativeBundle(bundle.path), backend, StreamOptions(threads))
    except (ImportError, InputError):
        return {}
    audio = 0.1 * np.random.default_rng(0).standard_normal((1, bundle.manifest.hop), dtype=np.float32)
    seconds = []
    for _ in range(_OVERHEAD_HOPS):
        started = time.perf_counter()
        stream.process(audio)
        seconds.append(time.perf_counter() - started)
    return {"native_seconds": statistics.median(seconds)}


def describe(bundle: Bundle, backend: str) -> dict[str, Any]:
    """What the manifest says of a case, by the names of report.schema.json; `run_seconds` is the audio in one run."""
    manifest, graph = bundle.manifest, bundle.manifest.graphs[backend]
    hop_seconds = manifest.hop / manifest.sample_rate
    return {
        "name": manifest.name,
        "task": manifest.task,
        "precision": graph.made_in(),
        "prune_ratio": manifest.compression.prune_ratio,
        "sample_rate": manifest.sample_rate,
        "hop_seconds": hop_seconds,
        "latency_seconds": manifest.latency_samples / manifest.sample_rate,
        "graph_bytes": graph.bytes,
        "weight_bytes": graph.weight_bytes,
        "weight_bytes_per_second": graph.weight_bytes / hop_seconds,
        "macs_per_second": manifest.compression.macs_per_second.after,
        "attention_macs_per_second": manifest.compression.attention_macs_per_second.after,
        "run_seconds": (manifest.segment or manifest.hop) / manifest.sample_rate,
        "io_bytes": sum(np.dtype(s.dtype).itemsize * int(np.prod(s.shape)) for s in manifest.inputs + manifest.outputs),
    }
