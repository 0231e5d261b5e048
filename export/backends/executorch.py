"""ExecuTorch programs for XNNPACK."""

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
    from edge.export.to_executorch import to_executorch

    return to_executorch(module, example, plan)


EXECUTORCH = Exporter(("executorch",), "executorch", export, half_form="executorch-fp16")
