"""One lowered, quantized, exported graph of a model, with the record of what it became."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge.bundle import GraphRecord
from edge.compression.cost import weight_bytes
from edge.compression.int8 import plan_precision, require_all
from edge.errors import InputError
from edge.export.half import in_half, lower_half
from edge.export.lower import lower
from edge.export.norms import Target
from edge.interface import Interface

FILES: dict[str, str] = {"onnx": "model.onnx", "executorch": "model.pte"}


@dataclass(frozen=True)
class BuiltGraph:
    """The bytes of a graph file and its manifest record."""

    data: bytes
    record: GraphRecord


def build_graph(
    model: nn.Module,
    interface: Interface,
    target: Target,
    precision: str,
    calibration: Sequence[np.ndarray],
    cpu: str = "arm64",
) -> BuiltGraph:
    """Lower `model` for `target`, quantize it where precision is "int8", and export it.

    interface: of the model. calibration: float32 arrays like the graph's first input, for static int8; states are not
    calibrated (the enhancer's layers all quantize dynamically). cpu: "arm64" or "x86", what int8 is chosen for.
    Raises InputError where static int8 has no calibration audio, EdgeError where a layer misses its planned precision.
    """
    example = example_inputs(interface)
    batches = [(torch.from_numpy(audio), *example[1:]) for audio in calibration]
    lowered = None
    if in_half(model, target, precision, cpu):
        lowered = lower_half(model, interface, batches)
    lowered = lowered or lower(model, interface.segment, target)
    plan = plan_precision(lowered, precision, target, cpu, example, batches)
    size = weight_bytes(lowered, plan)
    if target == "onnx":
        from edge.export.to_onnx import to_onnx

        built = to_onnx(lowered, example, [s.name for s in interface.inputs], [s.name for s in interface.outputs], plan)
    else:
        from edge.export.to_executorch import to_executorch

        built = to_executorch(lowered, example, plan)
    layers = require_all(plan, built.achieved, FILES[target])
    told = layers, built.delegated_macs, built.least_runtime
    record = GraphRecord(FILES[target], len(built.data), size, built.ops, *told)
    return BuiltGraph(built.data, record)


def example_inputs(interface: Interface) -> tuple[torch.Tensor, ...]:
    """Zeros in the shapes of a graph's inputs."""
    return tuple(torch.zeros(spec.shape) for spec in interface.inputs)


def check_formats(formats: Sequence[str]) -> None:
    """Raises InputError for an unknown format, or where the packages that export it are not installed."""
    unknown = [f for f in formats if f not in FILES]
    if unknown or not formats:
        raise InputError(f"unknown format {','.join(unknown)!r}; known: {', '.join(FILES)}")
    for name, package in (("onnx", "onnx"), ("onnx", "onnxscript"), ("executorch", "executorch")):
        if name in formats and importlib.util.find_spec(package) is None:
            raise InputError(f'exporting {name} needs the {package} package: pip install "stem-edge[export]"')
