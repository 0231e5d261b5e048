"""The demo: both shipped models before and after compression, on real recordings, in one table."""

from __future__ import annotations

import logging
import multiprocessing
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge import samples
from edge.audio import AudioReader
from edge.benchmarks.documents import read_json, write_json
from edge.benchmarks.machine import fingerprint
from edge.benchmarks.report import raise_failures
from edge.benchmarks.runner import Case, Result, measure
from edge.bundle import Manifest, open_bundle
from edge.errors import EdgeError, InputError
from edge.export.pipeline import ExportOptions, export_model
from edge.metrics import sdr, si_sdr
from edge.runtime.files import run_file
from edge.zoo import SHIPPED

PRUNE = 0.5
_MEASURE_STEPS = 10
# What each model is run on; the first has a reference, so that quality can be measured.
RECORDINGS = {"enhancer": ("speech_noisy.flac",), "htdemucs-mini": ("song/mixture.flac", "music_real.ogg")}
METRICS = {
    "enhancer": "SI-SDR of 12 s of speech, held-out speaker and noise",
    "htdemucs-mini": "SDR of a held-out rendered song of 12 s, mean of the sources",
}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class GraphRow:
    """One graph of one bundle: sizes in bytes, quality in dB, RTF of one hop (median; the median of each round)."""

    stage: str
    format: str
    precision: str
    prune_ratio: float
    parameters: int
    macs_per_second: int
    weight_bytes: int
    file_bytes: int
    quality_db: float
    rtf: float
    rtf_rounds: list[float]


@dataclass(frozen=True)
class ModelReport:
    """The rows of one model, and the same metric of the unprocessed recording in dB."""

    name: str
    metric: str
    input_db: float
    recovery: dict[str, Any] | None
    rows: list[GraphRow] = field(default_factory=list)


@dataclass(frozen=True)
class DemoReport:
    """`machine` is the fingerprint taken at the start."""

    machine: dict[str, Any]
    threads: int
    models: list[ModelReport]


@dataclass(frozen=True)
class _Stage:
    model: str
    stage: str
    options: ExportOptions
    bundle: Path


def run_demo(
    output: Path, full: bool = False, threads: int = 1, seconds: float = 5.0, progress: Progress = lambda _: None
) -> DemoReport:
    """Export the shipped models, unpruned in fp32 and pruned in the precision that pays, and measure them.

    Writes bundles/, audio/MODEL/STAGE-FORMAT/ and demo.json into `output`. full: ExecuTorch of the unpruned networks
    too. seconds: measuring time of each graph. Raises EdgeError where a step fails.
    """
    machine = fingerprint()  # its load is that of others: the exports have not begun
    stages = list(_stages(output / "bundles", full))
    _export_all(stages, progress)
    quality = {
        (stage.bundle, format): _run(stage, format, output / "audio", threads, progress)
        for stage in stages
        for format in stage.options.formats
    }
    result = measure([Case(*graph, threads) for graph in quality], seconds, _every_tenth(progress))
    raise_failures(result)
    speeds = {(Path(speed.bundle), speed.backend): speed for speed in result.results}
    models = []
    for name in SHIPPED:
        own = sorted((s for s in stages if s.model == name), key=lambda s: s.stage == "after")
        manifests = {stage: open_bundle(stage.bundle).manifest for stage in own}
        rows = [
            _row(stage.stage, format, manifests[stage], quality[stage.bundle, format], speeds[stage.bundle, format])
            for stage in own
            for format in stage.options.formats
        ]
        recovery = manifests[own[-1]].compression.recovery
        models.append(ModelReport(name, METRICS[name], _input_quality(name), recovery, rows))
    report = DemoReport(machine, threads, models)
    write_json(asdict(report), output / "demo.json")
    return report


def _row(stage: str, format: str, manifest: Manifest, quality: float, speed: Result) -> GraphRow:
    graph, compression = manifest.graphs[format], manifest.compression
    return GraphRow(
        stage,
        format,
        graph.made_in(),
        compression.prune_ratio,
        int(compression.parameters.after),
        int(compression.macs_per_second.after),
        graph.weight_bytes,
        graph.bytes,
        quality,
        speed.rtf,
        speed.rtf_rounds,
    )


def count_steps(full: bool) -> int:
    """How often `run_demo` calls `progress`: for a bar."""
    stages = list(_stages(Path(), full))
    graphs = [stage for stage in stages for _ in stage.options.formats]
    exports = 5 * len(stages) + len(graphs)  # load, prune, check, quality, write, and each graph
    return exports + sum(len(RECORDINGS[stage.model]) for stage in graphs) + _MEASURE_STEPS


def _every_tenth(progress: Progress) -> Callable[[float, str], None]:
    """The progress of a measurement in _MEASURE_STEPS steps."""
    told = 0

    def step(share: float, label: str) -> None:
        nonlocal told
        while told < int(share * _MEASURE_STEPS):
            told += 1
            progress(f"measure: {label}")

    return step


def _stages(folder: Path, full: bool) -> Iterator[_Stage]:
    formats = ("onnx", "executorch") if full else ("onnx",)
    for name in sorted(SHIPPED, reverse=True):  # the separator first: it takes longest
        yield _Stage(name, "after", ExportOptions(prune=PRUNE), folder / name)
        yield _Stage(name, "before", ExportOptions(precision="fp32", formats=formats), folder / f"{name}-fp32")


def _export_all(stages: list[_Stage], progress: Progress) -> None:
    """Two exports at a time: most of an export is Python on one core."""
    context = multiprocessing.get_context("spawn")
    workers = min(2, fingerprint()["processors"] or 1)
    with context.Manager() as manager, ProcessPoolExecutor(workers, context) as pool:
        steps = manager.Queue()
        running = {pool.submit(_export, stage, steps) for stage in stages}
        try:
            while running:
                done, running = wait(running, timeout=0.5)
                for future in done:
                    future.result()
                while not steps.empty():
                    progress(steps.get())
        except BrokenProcessPool as error:
            raise EdgeError("an export was killed; it needs about 3 GB of free memory") from error
        finally:
            for future in running:
                future.cancel()


def _export(stage: _Stage, steps: queue.Queue[str]) -> None:
    logging.disable(logging.WARNING)  # the exporters' own chatter; failures are raised
    torch.set_num_threads(1)
    export_model(stage.model, [], stage.options, stage.bundle, lambda step: steps.put(f"{stage.stage}: {step}"))


def _run(stage: _Stage, format: str, folder: Path, threads: int, progress: Progress) -> float:
    """Process every recording of the model as edge-run does; the quality in dB is that of the files written."""
    bundle = open_bundle(stage.bundle)
    results = []
    for recording in RECORDINGS[stage.model]:
        progress(f"{stage.stage}: {stage.model}: run {format} on {recording}")
        source = samples.FOLDER / recording
        place = folder / stage.model / f"{stage.stage}-{format}"
        name = recording.split(".")[0].replace("/", "-")
        target = place / (f"{name}.wav" if bundle.manifest.task == "enhance" else name)
        run_file(bundle, source, target, format, threads)
        results.append(target)
    return _quality(stage.model, results[0])


def _quality(model: str, result: Path) -> float:
    if model == "enhancer":
        return si_sdr(samples.speech()[1], _load(result)[0])
    _, stems = samples.song()
    estimates = [_load(result / f"{stem}.wav") for stem in samples.STEMS]
    return float(np.mean([sdr(stem, estimate) for stem, estimate in zip(stems, estimates, strict=True)]))


def _input_quality(model: str) -> float:
    if model == "enhancer":
        noisy, clean = samples.speech()
        return si_sdr(clean, noisy)
    mix, stems = samples.song()
    return float(np.mean([sdr(stem, mix) for stem in stems]))


def _load(path: Path) -> np.ndarray:
    """float32 (channels, frames)."""
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks())).T


def load_report(path: Path) -> DemoReport:
    """Read what `run_demo` wrote as demo.json; InputError where it is something else."""
    try:
        content = read_json(path)
        models = [ModelReport(**m | {"rows": [GraphRow(**row) for row in m["rows"]]}) for m in content["models"]]
        return DemoReport(content["machine"], content["threads"], models)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no report of edge-demo: {error}") from error
