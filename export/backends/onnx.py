"""ONNX graphs."""

from __future__ import annotations

import torch
from torch import nn

from edge.compression.int8 import PlannedLayer
from edge.export.backends.record import Exporter
from edge.export.exported import Exported
from edge.interface import Interface


def export(
    module: nn.Module, example: tuple[torch.Tensor, ...], interface: Interface, plan: list[PlannedLayer]
) -> Exported:
    from edge.export.to_onnx import to_onnx

    return to_onnx(module, example, [s.name for s in interface.inputs], [s.name for s in interface.outputs], plan)


ONNX = Exporter(("onnx", "onnxscript"), "onnx", export)
