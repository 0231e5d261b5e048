"""Every graph of a sweep and the unpruned network in eager PyTorch, in one interleaved run."""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edge.benchmarks.compression.sweep import Failure
from edge.benchmarks.rounds import SLICE_SECONDS, Participant, Progress
from edge.benchmarks.runner import Case, Result, measure
from edge.benchmarks.stats import paired_ratio
from edge.benchmarks.worker import answer_requests
from edge.bundle import Bundle
from edge.checkpoints import save_checkpoint
from edge.errors import EdgeError
from edge.models.bag import Bag, members
from edge.zoo import Model

PYTORCH = "eager PyTorch"

Built = tuple[Callable[[], object], dict[str, Any]]  # a run, and what to tell of it


def serve_torch(connection: Connection, build: Callable[..., Built], arguments: tuple[Any, ...], threads: int) -> None:
    """As `worker.serve`, for what `build(*arguments)` gives: a run of a torch network, and what to tell of it.

    A request gives as many runs as fill a slice; short ones follow one that does not count.
    """

    def prepare() -> tuple[dict[str, Any], Callable[[Any], list[float]]]:
        import torch

        torch.set_num_threads(threads)
        run, told = build(*arguments)
        run = torch.inference_mode()(run)
        run()

        def timed() -> float:
            started = time.perf_counter()
            run()
            return time.perf_counter() - started

        def answer(_request: int) -> list[float]:
            first = timed()
            fitting = range(min(100, math.ceil(SLICE_SECONDS / first)))
            return [timed() for _ in fitting] if len(fitting) > 1 else [first]

        return told, answer

    answer_requests(connection, prepare)


def build_network(checkpoints: Sequence[str], segment: int | None) -> Built:
    """A separator on `segment` samples, an enhancer hop by hop."""
    import torch

    from edge.checkpoints import load_checkpoint

    loaded = [load_checkpoint(path) for path in checkpoints]
    network: Any = Bag(loaded) if len(loaded) > 1 else loaded[0]  # type: ignore[arg-type]
    shape = (1, network.config.hop) if segment is None else (1, network.config.audio_channels, segment)
    audio = 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    told = {"versions": {"torch": torch.__version__}}
    if segment is not None:
        return lambda: network(audio), told
    state = [network.init_state()]

    def run() -> None:
        _, state[0] = network(audio, state[0])

    return run, told


def measure_times(
    model: Model,
    bundles: Sequence[Bundle],
    backends: Sequence[str],
    threads: int,
    seconds: float,
    progress: Progress | None = None,
) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[str, Any], list[Failure]]:
    """Times of every graph by (bundle's name, backend), of the network in PyTorch, and what failed.

    A graph has `rtf`, `run_seconds`, `run_seconds_rounds`, and as ratios of the rounds' medians `speedup_pytorch` and
    `speedup_fp32`: how many times faster it is than the network in PyTorch, and than the unpruned fp32 graph of its
    backend (None where that was not measured). Raises EdgeError where nothing can be measured.
    """
    parts = members(model.network)
    segment = bundles[0].manifest.segment
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / f"{number}.safetensors") for number in range(len(parts))]
        for file, member in zip(files, parts, strict=True):
            save_checkpoint(file, member)
        other = Participant(PYTORCH, serve_torch, (build_network, (files, segment), threads))
        cases = [Case(bundle.path, backend, threads) for bundle in bundles for backend in backends]
        report = measure(cases, seconds, progress, others=[other])
    failures = [Failure(f"{f.bundle} {f.backend or ''}".strip(), f.error) for f in report.failures]
    if other.failed or not report.results:
        raise EdgeError(next((f for f in report.failures if f.bundle == PYTORCH), report.failures[0]).error)
    pytorch = [statistics.median(times) for times in other.rounds]
    references = {r.backend: _times(r) for r in report.results if r.precision == "fp32" and not r.prune_ratio}
    times = {}
    for result in report.results:
        own = _times(result)
        reference = references.get(result.backend)
        times[Path(result.bundle).name, result.backend] = {
            "rtf": result.rtf,
            "run_seconds": statistics.median(own),
            "run_seconds_rounds": own,
            "peak_bytes": result.peak_bytes,
            "speedup_pytorch": dataclasses.asdict(paired_ratio(pytorch, own)),
            "speedup_fp32": dataclasses.asdict(paired_ratio(reference, own)) if reference else None,
        }
    median = statistics.median(pytorch)
    hop = bundles[0].manifest.hop / bundles[0].manifest.sample_rate
    network = {"rtf": median / hop, "run_seconds": median, "run_seconds_rounds": pytorch, "threads": threads}
    return times, network | {"versions": other.told["versions"], "peak_bytes": other.told["peak_bytes"]}, failures


def _times(result: Result) -> list[float]:
    """Seconds of one run, the median of each round."""
    return [rtf * result.hop_seconds for rtf in result.rtf_rounds]
