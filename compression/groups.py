"""What a pruner is told about a network: its groups of coupled channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are removed together, named by one module whose `side` has exactly that width.

    Attributes:
        name: unique within the network.
        module: the module where the group is seeded.
        side: "out" or "in", the side of `module` that carries the channels.
        heads: attention heads; the channels are thinned evenly inside each.
        whole_heads: remove heads whole, and thin the rest only as far as that leaves too many channels.
    """

    name: str
    module: nn.Module
    side: str
    heads: int = 1
    whole_heads: bool = False


def kept_width(width: int, ratio: float) -> int:
    """Channels left of `width`: rounded to eighths for vector units where the group is wide enough."""
    step = 8 if width >= 48 else 4 if width >= 16 else 1
    return min(width, max(step if width >= 16 else 1, round(width * (1 - ratio) / step) * step))


def kept_heads(heads: int, ratio: float) -> int:
    """Heads left where whole heads are removed; the channels that are still too many are thinned inside them."""
    return max(1, math.ceil(round(heads * (1 - ratio), 6)))
