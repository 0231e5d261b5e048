"""One lowered, quantized, exported graph of a model, with the record of what it became."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge.bundle import GraphRecord, TensorSpec
from edge.compression.cost import weight_bytes
from edge.compression.int8 import plan_precision, require_all
from edge.errors import InputError
from edge.export.half import in_half, lower_half
from edge.export.lower import lower
from edge.export.norms import Target
from edge.models.enhancer import Enhancer

FILES: dict[str, str] = {"onnx": "model.onnx", "executorch": "model.pte"}


@dataclass(frozen=True)
class Signature:
    """Names and shapes of a graph's inputs and outputs; `states` are those among them that are carried."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    states: list[TensorSpec]


@dataclass(frozen=True)
class BuiltGraph:
    """The bytes of a graph file and its manifest record."""

    data: bytes
    record: GraphRecord


def signature(model: nn.Module, segment: int | None) -> Signature:
    """The inputs and outputs that docs/bundle.md prescribes for the model's task."""
    if isinstance(model, Enhancer):
        hop = model.config.hop
        shapes = lower(model, None, "onnx").state_shapes
        states = [TensorSpec(name, tuple(shape)) for name, shape in shapes.items()]
        following = [TensorSpec(f"next_{s.name}", s.shape) for s in states]
        return Signature(
            [TensorSpec("audio", (1, hop)), *states], [TensorSpec("enhanced", (1, hop)), *following], states
        )
    c = model.config
    assert segment is not None
    mix, stems = (1, c.audio_channels, segment), (1, len(c.sources), c.audio_channels, segment)
    return Signature([TensorSpec("mix", mix)], [TensorSpec("stems", stems)], [])


def build_graph(
    model: nn.Module,
    segment: int | None,
    target: Target,
    precision: str,
    calibration: Sequence[np.ndarray],
    cpu: str = "arm64",
) -> BuiltGraph:
    """Lower `model` for `target`, quantize it where precision is "int8", and export it.

    calibration: float32 arrays like the graph's first input, for static int8; states are not calibrated (the
    enhancer's layers all quantize dynamically). cpu: "arm64" or "x86", what int8 is chosen for. Raises
    InputError where static int8 has no calibration audio, EdgeError where a layer misses its planned precision.
    """
    names = signature(model, segment)
    example = tuple(torch.zeros(spec.shape) for spec in names.inputs)
    batches = [(torch.from_numpy(audio), *example[1:]) for audio in calibration]
    lowered = None
    if segment is not None and in_half(model, target, precision, cpu):
        lowered = lower_half(model, segment, batches)
    lowered = lowered or lower(model, segment, target)
    plan = plan_precision(lowered, precision, target, cpu, example, batches)
    size = weight_bytes(lowered, plan)
    if target == "onnx":
        from edge.export.to_onnx import to_onnx

        built = to_onnx(lowered, example, [s.name for s in names.inputs], [s.name for s in names.outputs], plan)
    else:
        from edge.export.to_executorch import to_executorch

        built = to_executorch(lowered, example, plan)
    layers = require_all(plan, built.achieved, FILES[target])
    record = GraphRecord(FILES[target], len(built.data), size, built.ops, layers, built.delegated_macs)
    return BuiltGraph(built.data, record)


def check_formats(formats: Sequence[str]) -> None:
    """Raises InputError for an unknown format, or where the packages that export it are not installed."""
    unknown = [f for f in formats if f not in FILES]
    if unknown or not formats:
        raise InputError(f"unknown format {','.join(unknown)!r}; known: {', '.join(FILES)}")
    for name, package in (("onnx", "onnx"), ("onnx", "onnxscript"), ("executorch", "executorch")):
        if name in formats and importlib.util.find_spec(package) is None:
            raise InputError(f'exporting {name} needs the {package} package: pip install "stem-edge[export]"')
