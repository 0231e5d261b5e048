"""What export knows of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from edge.compression.int8 import PlannedLayer
from edge.export.exported import Exported
from edge.interface import Interface

Export = Callable[[nn.Module, tuple[torch.Tensor, ...], Interface, list[PlannedLayer]], Exported]


@dataclass(frozen=True)
class Exporter:
    """How graphs for a backend of edge.backends are written.

    requires: packages, beyond torch. form: what lowered modules are laid out for (see edge.export.norms).
    export(module, example, interface, plan): a lowered module quantized by its plan, as a file; what each layer got is
    read back from it. half_form: the form in fp16, where the backend computes in it.
    """

    requires: tuple[str, ...]
    form: str
    export: Export
    half_form: str | None = None
