"""fp32: everything as it was trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edge.backends import Backend
from edge.compression.int8 import KINDS, PlannedLayer, weighted_layers
from edge.compression.precisions.record import LayerFormat, Precision, Tensors
from edge.compression.processors import Processor


def plan(
    module: nn.Module, backend: Backend, processor: Processor, example: Tensors, calibration: Sequence[Tensors] = ()
) -> list[PlannedLayer]:
    layers = weighted_layers(module)
    return [PlannedLayer(name, KINDS[type(layer)][0], "fp32", "", layer.weight.numel()) for name, layer in layers]


FP32 = Precision("fp32", plan, {"fp32": LayerFormat(4)}, min_parity_db=60.0, golden_min_db=60.0, tuned=False)
