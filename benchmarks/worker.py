"""Runs one bundle on one backend in a process of its own, so that its memory is its own and a crash is contained."""

from __future__ import annotations

import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from edge.bundle import Bundle, open_bundle
from edge.errors import EdgeError
from edge.manifest import Manifest
from edge.runtime.golden import check_golden
from edge.runtime.graphs import Graph, import_backend, load_graph


def serve(connection: Connection, path: str, backend: str, threads: int) -> None:
    """Load the graph, check it against the golden output, then answer requests until None comes.

    Sends `{"error", "exit_code"}` or the measurements of loading; then each request n gives the seconds of n
    hops, float list; after None it sends `{"peak_bytes"}` and returns.
    """
    try:
        bundle = open_bundle(path)
        import_backend(backend)
        started = time.perf_counter()
        graph = load_graph(bundle, backend, threads)
        loaded = time.perf_counter()
        hops = Hops(bundle.manifest, graph)
        first = hops.run(1)[0]
        golden = check_golden(bundle, backend, graph)
        hops.run(1)
        connection.send(
            _description(bundle, backend)
            | {
                "load_seconds": loaded - started,
                "first_seconds": first,
                "golden_snr_db": golden,
            }
        )
        while (request := connection.recv()) is not None:
            connection.send(hops.run(request))
        connection.send({"peak_bytes": peak_memory_bytes()})
    except EdgeError as error:
        connection.send({"error": str(error), "exit_code": error.exit_code})
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return  # the parent has gone or is stopping


class Hops:
    """Times single runs of a graph on noise, an enhancer's state carried on from run to run."""

    def __init__(self, manifest: Manifest, graph: Graph):
        self._graph = graph
        audio = manifest.inputs[0]
        self._audio = 0.1 * np.random.default_rng(0).standard_normal(audio.shape, dtype=np.float32)
        self._states = [np.zeros(spec.shape, spec.dtype) for spec in manifest.states]

    def run(self, count: int) -> list[float]:
        """Seconds of each of `count` runs."""
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            _, *self._states = self._graph([self._audio, *self._states])
            seconds.append(time.perf_counter() - started)
        return seconds


def peak_memory_bytes() -> int:
    """The peak resident set of this process alone, Python and its libraries included.

    Linux: VmHWM, for `ru_maxrss` of a child starts at the peak of the parent that it was forked from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _description(bundle: Bundle, backend: str) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "task": manifest.task,
        "precision": manifest.precision,
        "prune_ratio": manifest.compression.prune_ratio,
        "graph_bytes": manifest.graphs[backend].bytes,
        "hop_seconds": manifest.hop / manifest.sample_rate,
        "latency_seconds": manifest.latency_samples / manifest.sample_rate,
    }
