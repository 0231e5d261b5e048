"""The floor: the least time that a graph could need on this machine, from the best rates that the same runtime reaches.

The rates are measured with probe graphs (see `edge.benchmarks.probes`) in the same rounds as the bundles. A graph's
weighted layers cannot beat the peak of their precision, its attention products not that of fp32, and its weights have
to be read once a run; the rest (norms, activations, the STFT, moving data) counts as distance from the floor.
"""

from __future__ import annotations

import importlib.resources
import io
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edge.backends import import_backend
from edge.bundle import open_bundle
from edge.runtime.golden import check_golden
from edge.runtime.graphs import load_graph

# name: whether it measures arithmetic (MACs) or memory (weight bytes)
PROBES = {
    "matmul-fp32": "macs",
    "conv-fp32": "macs",
    "matmul-int8": "macs",
    "conv-int8": "macs",
    "row-1MB-fp32": "bytes",
    "row-8MB-fp32": "bytes",
}
_SLICE_SECONDS = 0.15  # of a round: the peak is the best of many short runs


@dataclass(frozen=True)
class Peak:
    """The best rate of one probe, per second; one of the two rates is None."""

    backend: str
    threads: int
    precision: str
    probe: str
    macs_per_second: float | None
    bytes_per_second: float | None


@dataclass(frozen=True)
class Floor:
    """The two bounds of one run in seconds, and the measured time over the larger of them."""

    compute_seconds: float
    memory_seconds: float
    times: float


def serve_probes(connection: Connection, backend: str, threads: int) -> None:
    """As `worker.serve` for all probes at once: a request n gives n passes or more, each the seconds of every probe."""
    from edge.benchmarks.worker import Hops, answer_requests, describe

    folder = tempfile.TemporaryDirectory(prefix="stem-edge-")

    def prepare() -> tuple[dict[str, Any], Callable[[int], list[float]]]:
        import_backend(backend)
        packed = importlib.resources.files("edge.benchmarks").joinpath("probes.zip").read_bytes()
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder.name)
        probes, macs, sizes = [], [], []
        for name in PROBES:
            bundle = open_bundle(Path(folder.name) / name)
            graph = load_graph(bundle, backend, threads)
            check_golden(bundle, backend, graph)
            values = describe(bundle, backend)
            macs.append(values["macs_per_second"] * values["run_seconds"])
            sizes.append(values["weight_bytes"])
            probes.append(Hops(bundle.manifest, graph))

        def answer(passes: int) -> list[float]:
            seconds: list[float] = []
            started = time.perf_counter()
            while len(seconds) < passes * len(probes) or time.perf_counter() - started < _SLICE_SECONDS:
                seconds += [probe.run(1)[0] for probe in probes]
            return seconds

        return {"macs": macs, "bytes": sizes}, answer

    with folder:
        answer_requests(connection, prepare)


def peaks(
    backend: str, threads: int, macs: Sequence[float], sizes: Sequence[float], slices: Sequence[Sequence[float]]
) -> list[Peak]:
    """Each probe's best rate over all rounds; the sequences are in the order of PROBES, as `serve_probes` has them."""
    found = []
    for number, (name, kind) in enumerate(PROBES.items()):
        seconds = min(min(times[number :: len(PROBES)]) for times in slices)
        probe, precision = name.rsplit("-", 1)
        rates = (macs[number] / seconds, None) if kind == "macs" else (None, sizes[number] / seconds)
        found.append(Peak(backend, threads, precision, probe, *rates))
    return found


def floor(values: dict[str, Any], backend: str, threads: int, seconds: float, peaks: Sequence[Peak]) -> Floor | None:
    """The floor of a case that `worker.describe` describes and whose run takes `seconds`; None without its peaks."""
    own = [peak for peak in peaks if (peak.backend, peak.threads) == (backend, threads)]
    if not own:
        return None

    def rate(precisions: tuple[str, ...]) -> float:
        return max(p.macs_per_second for p in own if p.macs_per_second and p.precision in precisions)

    weighted = rate(("fp32",) if values["precision"] == "fp32" else ("fp32", "int8"))
    macs, attention = values["macs_per_second"], values["attention_macs_per_second"]
    compute = values["run_seconds"] * (macs / weighted + attention / rate(("fp32",)))
    reading = max(p.bytes_per_second for p in own if p.bytes_per_second)
    memory = (values["weight_bytes"] + values["io_bytes"]) / reading
    return Floor(compute, memory, seconds / max(compute, memory))
