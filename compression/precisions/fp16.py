"""fp16: storage and arithmetic, where the backend and the processor compute in it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edge.backends import Backend
from edge.compression.int8 import KINDS, PlannedLayer, marked_float, weighted_layers
from edge.compression.precisions.record import LayerFormat, Precision, Tensors
from edge.compression.processors import Processor

CHEAPER = "fp16 arithmetic costs less than int8 and the way into it and back"


def plan(
    module: nn.Module, backend: Backend, processor: Processor, example: Tensors, calibration: Sequence[Tensors] = ()
) -> list[PlannedLayer]:
    return [
        PlannedLayer(name, KINDS[type(layer)][0], "fp16", marked_float(layer)[0] or CHEAPER, layer.weight.numel())
        for name, layer in weighted_layers(module)
    ]


FP16 = Precision("fp16", plan, {"fp16": LayerFormat(2)}, min_parity_db=25.0, golden_min_db=25.0, half=True)
