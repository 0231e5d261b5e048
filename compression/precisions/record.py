"""What compression knows of a precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edge.backends import Backend
from edge.compression.int8 import PlannedLayer
from edge.compression.processors import Processor

Tensors = tuple[torch.Tensor, ...]
Plan = Callable[[nn.Module, Backend, Processor, Tensors, Sequence[Tensors]], list[PlannedLayer]]


@dataclass(frozen=True)
class LayerFormat:
    """How a layer's weights are stored: bytes of each, and whether each output channel has an fp32 scale beside.
    calibrated: whether its activations have ranges from calibration audio."""

    bytes: float
    scaled: bool = False
    calibrated: bool = False


@dataclass(frozen=True)
class Precision:
    """A precision that a graph can be made in.

    plan(module, backend, processor, example, calibration): the format of every weighted layer of a lowered module;
    example: its inputs, for the shapes; calibration: its inputs, for the ranges of what is static. formats: those that
    plans name. min_parity_db: SNR against the network below which a graph is broken, not rounded. golden_min_db: SNR
    that another device must reach, which rounds otherwise. half: the module is lowered in fp16. tuned: whether the
    processor matters to it.
    """

    name: str
    plan: Plan
    formats: dict[str, LayerFormat]
    min_parity_db: float
    golden_min_db: float
    half: bool = False
    tuned: bool = True
