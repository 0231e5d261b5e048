"""What export knows of a kind of network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from edge.interface import Interface


@dataclass(frozen=True)
class Lowering:
    """How a kind of network becomes a graph; its kind is that of edge.models.architectures.

    interface(network, seconds): how the graph is fed; seconds: audio in one run, None for the network's own. Raises
    InputError for a length that it cannot have.
    lower(network, segment, target): the module that is exported, for one run of `segment` samples (None: a hop), its
    forward that of the interface; exact up to float32 rounding. target: see edge.export.norms.
    half_pays: whether most of the network's time goes to element-wise steps, so that fp16 gains more than int8 where
    a backend computes in it.
    """

    interface: Callable[[Any, float | None], Interface]
    lower: Callable[[Any, int | None, Any], nn.Module]
    half_pays: bool = False
