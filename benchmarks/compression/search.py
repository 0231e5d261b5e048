"""The smallest prune ratio whose graphs meet a target of size or speed, by bisection on measured exports."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.benchmarks.compression.sweep import export_once
from edge.benchmarks.report import raise_failures
from edge.benchmarks.runner import Case, measure
from edge.compression.prune import MAX_RATIO, check_ratio
from edge.errors import InputError
from edge.export.pipeline import ExportOptions
from edge.zoo import Model

STEP = 0.05

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One export. megabytes: of the largest graph file, 1 MB = 1e6 bytes; rtf: of the slowest graph, None where only
    the size matters."""

    ratio: float
    megabytes: float
    rtf: float | None


@dataclass(frozen=True)
class Found:
    """The smallest ratio that meets the target, and every export that was tried on the way."""

    ratio: float
    trials: list[Trial]


def find_ratio(
    model: Model,
    options: ExportOptions,
    *,
    target_mb: float | None = None,
    target_rtf: float | None = None,
    threads: int = 1,
    seconds: float = 2.0,
    step: float = STEP,
    folder: Path | None = None,
    progress: Progress = lambda _: None,
) -> Found:
    """The smallest ratio, to `step`, at which every graph of `options.formats` has at most `target_mb` MB and runs at
    most at `target_rtf` on this machine; options.prune is what it starts from.

    Assumes that size and time never grow with the ratio, which is measured at log2(1 / step) ratios only; a time that
    lies on the target within the noise of the machine may be found on either side of it. seconds: measuring time of
    each graph. folder: keeps the exports, so that a stopped search goes on. Nothing is trained on the way.

    Raises InputError without a target, or where the largest ratio misses it, naming what it reaches.
    """
    if target_mb is None and target_rtf is None:
        raise InputError("a search needs a target: --target-mb or --target-rtf")
    for name, target in (("--target-mb", target_mb), ("--target-rtf", target_rtf)):
        if target is not None and not 0 < target < float("inf"):
            raise InputError(f"{name} must be a positive number, not {target:g}")
    check_ratio(options.prune)
    ratios = [options.prune]
    while ratios[-1] + step < MAX_RATIO - 1e-9:
        ratios.append(round(ratios[-1] + step, 4))
    if ratios[-1] < MAX_RATIO:
        ratios.append(MAX_RATIO)
    trials: dict[float, Trial] = {}

    def meets(ratio: float) -> bool:
        if ratio not in trials:
            trials[ratio] = _try(model, options, ratio, target_rtf is not None, threads, seconds, folder, progress)
        trial = trials[ratio]
        small = target_mb is None or trial.megabytes <= target_mb
        return small and (target_rtf is None or (trial.rtf is not None and trial.rtf <= target_rtf))

    if not meets(ratios[-1]):
        raise InputError(_unreachable(trials[ratios[-1]], options, target_mb, target_rtf))
    low, high = -1, len(ratios) - 1  # ratios[high] meets the target, ratios[low] misses it
    while high - low > 1:
        middle = (low + high) // 2
        if meets(ratios[middle]):
            high = middle
        else:
            low = middle
    return Found(ratios[high], sorted(trials.values(), key=lambda trial: trial.ratio))


def _try(
    model: Model,
    options: ExportOptions,
    ratio: float,
    timed: bool,
    threads: int,
    seconds: float,
    folder: Path | None,
    progress: Progress,
) -> Trial:
    progress(f"{model.name}: try {ratio:g}")
    untrained = dataclasses.replace(options, prune=ratio, recover=None)
    with tempfile.TemporaryDirectory() as temporary:
        bundle = export_once(model, untrained, folder or Path(temporary))
        graphs = bundle.manifest.graphs
        megabytes = max(graph.bytes for graph in graphs.values()) / 1e6
        rtf = None
        if timed:
            report = measure([Case(bundle.path, backend, threads) for backend in graphs], seconds)
            raise_failures(report)
            rtf = max(result.rtf for result in report.results)
    trial = Trial(ratio, megabytes, rtf)
    progress(f"{model.name}: {describe(trial)}")
    return trial


def _unreachable(best: Trial, options: ExportOptions, target_mb: float | None, target_rtf: float | None) -> str:
    missed = []
    if target_mb is not None and best.megabytes > target_mb:
        missed.append(f"--target-mb {target_mb:g} (best {best.megabytes:.3g} MB)")
    if target_rtf is not None and best.rtf is not None and best.rtf > target_rtf:
        missed.append(f"--target-rtf {target_rtf:g} (best {best.rtf:.3g})")
    return (
        f"pruning by {best.ratio:g}, the most there is, does not reach {' nor '.join(missed)} "
        f"in {options.precision}; raise the target"
    )


def describe(trial: Trial) -> str:
    """One trial in words."""
    rtf = "" if trial.rtf is None else f", RTF {trial.rtf:.4f}"
    return f"pruned {trial.ratio:g}: {trial.megabytes:.2f} MB{rtf}"
