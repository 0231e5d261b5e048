"""What a pruner is told about a network: its groups of coupled channels."""

from __future__ import annotations

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
    """

    name: str
    module: nn.Module
    side: str
    heads: int = 1
