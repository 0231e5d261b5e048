"""Which layers int8 costs most: each group of layers alone in int8, against the fp32 graph of the same network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge import samples
from edge.backends.onnx import Onnx
from edge.benchmarks.compression.held_out import score, stream_run
from edge.benchmarks.compression.sweep import export_once
from edge.benchmarks.tables import columns
from edge.bundle import snr_db
from edge.compression.int8 import PlannedLayer, require_all
from edge.compression.precisions import plan_precision
from edge.errors import InputError
from edge.export.architectures import interface_of
from edge.export.graph import example_inputs
from edge.export.lower import lower
from edge.export.pipeline import ExportOptions, compress
from edge.export.recordings import calibration_audio
from edge.runtime.graphs import Graph, load_graph
from edge.zoo import Model

FORMAT = "stem-edge sensitivity 1"
ALL = "all layers"

Progress = Callable[[str], None]
Quantize = Callable[[list[PlannedLayer]], Graph]


@dataclass(frozen=True)
class Sensitivity:
    """One group alone in int8. snr_db: of its output against fp32's on the sample recording; loss: quality in dB that
    it costs there (None where the model has no reference); weights: how many it quantizes."""

    group: str
    layers: int
    weights: int
    snr_db: float
    quality: float | None
    loss: float | None


def group_of(layer: str) -> str:
    """The group that a layer of a lowered network belongs to, from its name.

    >>> group_of("encoder.0.dconv.1.narrow"), group_of("layers_t.2.linear1"), group_of("recurrences.1.hidden")
    ('encoder.0.dconv', 'layers_t.2.ffn', 'recurrences.1')
    """
    parts = layer.split(".")
    prefix = []
    if parts[0] == "models":  # a bag's member
        prefix, parts = parts[:2], parts[2:]
    if len(parts) < 3 or not parts[1].isdigit():
        own = parts[:1]
    elif parts[0] in ("recurrences", "mixes"):
        own = parts[:2]
    elif parts[0] in ("layers", "layers_t"):
        own = [*parts[:2], "ffn" if parts[2].startswith("linear") else "attention"]
    else:
        own = parts[:3]
    return ".".join([*prefix, *own])


def groups(plan: Sequence[PlannedLayer]) -> dict[str, list[str]]:
    """Names of the layers that `plan` makes int8, by group."""
    found: dict[str, list[str]] = {}
    for layer in plan:
        if layer.precision != "fp32":
            found.setdefault(group_of(layer.name), []).append(layer.name)
    return found


def only(plan: Sequence[PlannedLayer], names: Sequence[str]) -> list[PlannedLayer]:
    """`plan` with all layers but `names` in fp32."""
    kept = set(names)
    return [
        p if p.name in kept or p.precision == "fp32" else dataclasses.replace(p, precision="fp32", reason="not scanned")
        for p in plan
    ]


def scan(
    model: Model, options: ExportOptions, backend: str, folder: Path, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Every group alone in int8, the most costly first, and all at once; a report in JSON types.

    The network is lowered and exported once; "executorch" is scanned in the quantized torch graph, before XNNPACK
    takes it over. folder: where the fp32 bundle is kept, whose manifest the streams need.
    """
    if backend not in _QUANTIZERS:
        raise InputError(f"unknown backend {backend!r}; known: {', '.join(_QUANTIZERS)}")
    fp32 = dataclasses.replace(options, precision="fp32", formats=("onnx",))
    bundle = export_once(model, fp32, folder, progress)
    small, _ = compress(model, options)
    interface = interface_of(small, options.segment)
    calibration = calibration_audio(interface, options.seed)
    lowered = lower(small, interface.segment, backend)
    example = example_inputs(interface)
    batches = [(torch.from_numpy(audio), *example[1:]) for audio in calibration]
    plan = plan_precision(lowered, "int8", backend, options.cpu, example, batches)
    progress(f"{model.name}: export for {backend}")
    quantize = _QUANTIZERS[backend](interface, lowered, example)
    mix, target = samples.song() if model.task == "separate" else samples.speech()
    judged = model.task == "enhance" or tuple(bundle.manifest.sources) == samples.STEMS

    def quality(output: np.ndarray) -> float | None:
        return next(iter(score(("si_sdr",), target, output).values())) if judged else None

    expected = stream_run(bundle.manifest, load_graph(bundle, "onnx", torch.get_num_threads()))(mix)
    before = quality(expected)
    found = []
    for name, layers in {ALL: [n for g in groups(plan).values() for n in g], **groups(plan)}.items():
        progress(f"{model.name}: {name} in int8")
        output = stream_run(bundle.manifest, quantize(only(plan, layers)))(mix)
        after = quality(output)
        weights = sum(p.weights for p in plan if p.name in layers)
        loss = None if after is None or before is None else before - after
        found.append(Sensitivity(name, len(layers), weights, snr_db(expected, output), after, loss))
    found.sort(key=lambda s: (s.group != ALL, s.snr_db))
    told = bundle.manifest.quality
    return {
        "format": FORMAT,
        "model": model.name,
        "ratio": options.prune,
        "cpu": options.cpu,
        "backend": backend,
        "metric": told.metric,
        "reference": told.reference,
        "quality_fp32": before,
        "groups": [dataclasses.asdict(s) for s in found],
    }


def _onnx(interface, lowered, example) -> Quantize:
    from edge.compression.int8_onnx import quantize_onnx
    from edge.export.shrink import strip
    from edge.export.to_onnx import export_onnx

    inputs, outputs = [s.name for s in interface.inputs], [s.name for s in interface.outputs]
    model = export_onnx(lowered, example, inputs, outputs)

    def quantize(part: list[PlannedLayer]) -> Graph:
        quantized, achieved = quantize_onnx(model, part)
        require_all(part, achieved, "the scanned graph")
        return Onnx(strip(quantized).SerializeToString(), torch.get_num_threads()).run

    return quantize


def _executorch(_interface, lowered, example) -> Quantize:
    from edge.compression.int8_executorch import quantize_pt2e

    def quantize(part: list[PlannedLayer]) -> Graph:
        quantized, achieved = quantize_pt2e(lowered, part, example)
        require_all(part, achieved, "the scanned graph")

        @torch.inference_mode()
        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            outputs = quantized(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
            return [o.numpy() for o in (outputs if isinstance(outputs, (tuple, list)) else (outputs,))]

        return run

    return quantize


_QUANTIZERS = {"onnx": _onnx, "executorch": _executorch}


def text(report: Mapping[str, Any]) -> str:
    """For a terminal."""
    return "\n".join([columns(rows(report), (0,)), *notes(report)])


def rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Header and cells, the most costly group first."""
    table = [["group alone in int8", "layers", "weights k", "SNR dB", "quality dB", "loss dB"]]
    for g in report["groups"]:
        quality = ["", ""] if g["loss"] is None else [f"{g['quality']:.2f}", f"{g['loss']:+.3f}"]
        table.append([g["group"], str(g["layers"]), f"{g['weights'] / 1e3:.1f}", f"{g['snr_db']:.1f}", *quality])
    return table


def notes(report: Mapping[str, Any]) -> list[str]:
    """What the figures mean."""
    fp32 = "" if report["quality_fp32"] is None else f", {report['quality_fp32']:.2f} dB in fp32"
    what = f"{report['model']}, pruned {report['ratio']:g}, {report['backend']} for {report['cpu']}"
    return [f"{what}; SNR against the fp32 graph; quality: {report['metric']} of {report['reference']}{fp32}."]
