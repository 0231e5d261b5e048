"""Compression swept over ratio, precision and backend: what each graph costs and how good it still is.

`run` exports, scores, counts and times; everything but the times is kept in the output folder, so that a stopped sweep
goes on, and a second run on an idle machine has only the times to take.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge import __version__
from edge.benchmarks.compression import baseline
from edge.benchmarks.compression.held_out import (
    INPUT,
    NETWORK,
    bundle_run,
    means,
    open_test_set,
    score_all,
    summary,
)
from edge.benchmarks.compression.pareto import COSTS, draw, front, quality_key
from edge.benchmarks.compression.sweep import Exported, Failure, export_all, grid, weights_digest
from edge.benchmarks.compression.tables import markdown
from edge.benchmarks.compression.timing import measure_times
from edge.benchmarks.documents import as_json, read_as, write_texts
from edge.benchmarks.quality.systems import Scores, System
from edge.benchmarks.report import Watch
from edge.bundle import Bundle
from edge.compression.cost import macs_per_second, parameters
from edge.compression.processors.arm64 import ARM64
from edge.errors import EdgeError
from edge.export.agreement import measure_agreement, read_recording
from edge.export.architectures import interface_of
from edge.export.pipeline import ExportOptions, check_options
from edge.zoo import Model

FORMAT = "stem-edge compression report 1"
CORES = ("cortex-a76", "i8mm")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ReportOptions:
    """What `edge-compress report` is asked for. `base`: what all exports share; its formats are the backends.

    cpus: what int8 is chosen for, a variant each; files: songs or clips of `data`'s test split; audio: a recording on
    which each variant is compared with the unpruned network; arm: the emulated Python that counts instructions on
    `cores`; seconds: measuring time of each graph, 0 for none; baselines: what `edge-compress baseline` wrote.
    """

    base: ExportOptions
    ratios: Sequence[float] = (0.0, 0.3, 0.5, 0.7)
    precisions: Sequence[str] = ("fp32", "auto")
    cpus: Sequence[str] = ("arm64",)
    data: Path | None = None
    files: int = 10
    audio: Path | None = None
    arm: Path | None = None
    cores: Sequence[str] = CORES
    threads: int = 1
    seconds: float = 3.0
    baselines: Sequence[Path] = field(default_factory=tuple)


def run(models: Sequence[Model], options: ReportOptions, output: Path, progress: Progress = lambda _: None) -> dict:
    """Sweep every model; returns the report and writes report.json, report.md and pareto.svg into `output`.

    Bundles lie in `output/bundles`, scores and counts in `output/scores.jsonl`. What fails is named in the report.
    Raises InputError for options that make no sense, EdgeError where nothing of a model could be exported.
    """
    for export in _wanted(options):
        check_options(export)
    baselines = [baseline.load(path) for path in options.baselines]
    watch, told = Watch(), []
    for model in models:
        found = _sweep(model, options, output, progress)
        found["baselines"] = [b for b in baselines if b["model"] == model.name]
        told.append(found)
    settings, command = dataclasses.asdict(options), " ".join(["edge-compress", *sys.argv[1:]])
    content = {
        "format": FORMAT,
        "tool": {"name": "edge-compress report", "version": __version__, "command": command},
        "started": watch.started,
        "machine": watch.machine(),
        "settings": json.loads(json.dumps(settings, default=str)),
        "models": told,
    }
    write(content, output)
    return content


def write(content: dict[str, Any], output: Path) -> None:
    """report.json, report.md and pareto.svg of a report, each whole or not there."""
    texts = {
        "report.json": as_json(content),
        "report.md": f"# Compression of {', '.join(m['name'] for m in content['models'])}\n\n{markdown(content)}\n",
        "pareto.svg": draw(content),
    }
    write_texts(output, texts)


def _sweep(model: Model, options: ReportOptions, output: Path, progress: Progress) -> dict[str, Any]:
    interface = interface_of(model.network, options.base.segment)
    segment = interface.segment
    if options.audio is not None:
        read_recording(options.audio, interface)  # a bad one shows before the work
    test = open_test_set(model, options.data, options.files) if options.data else None
    exported, failures = export_all(model, _wanted(options), output / "bundles", progress)
    if not exported:
        raise EdgeError(failures[0].error)
    bundles = [each.bundle for each in exported]
    backends, store = options.base.formats, output / "scores.jsonl"
    quality = bundles[0].manifest.quality
    macs = macs_per_second(model.network, segment)
    network: dict[str, Any] = {
        "parameters": parameters(model.network),
        "macs_per_second": macs.layers,
        "attention_macs_per_second": macs.attention,
        "quality": quality.values.get("before"),
    }
    told: dict[str, Any] = {
        "name": model.name,
        "task": model.task,
        "segment": segment,
        "sample": {
            "metric": quality.metric,
            "reference": quality.reference,
            "unit": quality.unit,
            "input": quality.values.get("input"),
        },
        "network": network,
        "variants": [_variant(each, backend) for each in exported for backend in backends],
    }
    if test is not None:
        scores = score_all(test, model, bundles, backends, options.threads, store, progress)
        told["test_set"] = {"what": test.what, "files": len(test.examples), "metrics": list(test.metrics)}
        told["test_set"]["input"] = means(scores[INPUT])
        network["held_out"] = means(scores[NETWORK])
        for variant in told["variants"]:
            variant["held_out"] = summary(scores, f"{variant['bundle']} {variant['backend']}")
    if options.audio is not None:
        told["recording"] = options.audio.name
        _agree(told["variants"], model, bundles, options, store, progress)
    if options.arm is not None:
        failures += _count(told["variants"], bundles, options, store, progress)
    if options.seconds:
        progress(f"{model.name}: time {len(told['variants'])} graphs and PyTorch in turn")
        times, pytorch, failed = measure_times(model, bundles, backends, options.threads, options.seconds)
        network["time"], failures = pytorch, failures + failed
        for variant in told["variants"]:
            variant["time"] = times.get((variant["bundle"], variant["backend"]))
    key = quality_key(told)
    told["pareto"] = {cost: front(told["variants"], COSTS[cost], key) for cost in COSTS}
    told["failures"] = [dataclasses.asdict(failure) for failure in failures]
    return told


def _wanted(options: ReportOptions) -> list[ExportOptions]:
    return grid(options.base, options.ratios, options.precisions, options.cpus)


def _variant(exported: Exported, backend: str) -> dict[str, Any]:
    bundle = exported.bundle
    manifest, graph = bundle.manifest, bundle.manifest.graphs[backend]
    cost, values = manifest.compression, manifest.quality.values
    after, before = values.get(f"after_{backend}"), values.get("before")
    return {
        "bundle": bundle.path.name,
        "ratio": cost.prune_ratio,
        "precision": graph.made_in(),
        "cpu": manifest.compression.cpu,
        "backend": backend,
        "recovery": cost.recovery,
        "parameters": cost.parameters.after,
        "macs_per_second": cost.macs_per_second.after,
        "attention_macs_per_second": cost.attention_macs_per_second.after,
        "graph_bytes": graph.bytes,
        "weight_bytes": graph.weight_bytes,
        "layers": len(graph.layers),
        "int8_layers": graph.int8_layers(),
        "parity_db": manifest.parity.get(backend),
        "quality": after,
        "quality_loss": None if after is None or before is None else before - after,
    }


def _agree(
    variants: list[dict[str, Any]],
    model: Model,
    bundles: Sequence[Bundle],
    options: ReportOptions,
    store: Path,
    progress: Progress,
) -> None:
    """Fill in `agreement`: SI-SDR in dB by source, on the user's recording, against the unpruned network."""
    assert options.audio is not None
    with options.audio.open("rb") as file:
        recording = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    known, weights = Scores(store), weights_digest(model)
    folders = {bundle.path.name: bundle for bundle in bundles}
    for variant in variants:
        bundle, backend = folders[variant["bundle"]], variant["backend"]
        content = weights.encode() + bundle.graph_path(backend).read_bytes()
        system = System("agreement", "agreement", hashlib.sha256(content).hexdigest()[:16])
        values = known.get(system, recording)
        if values is None:
            progress(f"{variant['bundle']} {backend}: compare on {options.audio.name}")
            run = bundle_run(bundle, backend, options.threads)
            found = measure_agreement(options.audio, model.network, bundle.manifest, {backend: run})
            values = found["values"][backend]
            known.add(system, recording, values)
        variant["agreement"] = values


def _count(
    variants: list[dict[str, Any]], bundles: Sequence[Bundle], options: ReportOptions, store: Path, progress: Progress
) -> list[Failure]:
    """Fill in `arm`: by core, instructions by class for one second of audio; a line for each that failed.

    What was made for another processor is left out.
    """
    from edge.benchmarks.arm.budget import Case, measure
    from edge.benchmarks.arm.emulator import find_emulator

    assert options.arm is not None
    emulator, known, failures = find_emulator(options.arm), Scores(store), []
    folders = {bundle.path.name: bundle for bundle in bundles}
    for variant in variants:
        bundle = folders[variant["bundle"]]
        graph = bundle.graph_path(variant["backend"])
        system = System("arm", "arm", hashlib.sha256(graph.read_bytes()).hexdigest()[:16])
        variant["arm"] = {}
        for core in options.cores if variant["cpu"] in (None, ARM64.name) else ():
            counts = known.get(system, core)
            if counts is None:
                progress(f"{variant['bundle']} {variant['backend']}: count instructions on {core}")
                try:
                    counts = measure(Case(bundle, variant["backend"], core), emulator).per_second
                except EdgeError as error:
                    failures.append(Failure(f"{variant['bundle']} {variant['backend']} {core}", str(error)))
                    continue
                known.add(system, core, counts)
            variant["arm"][core] = counts
    return failures


def load(path: Path) -> dict[str, Any]:
    """A report read back; InputError where the file is none."""
    return read_as(FORMAT, path, "edge-compress report")
