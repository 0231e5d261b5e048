"""What a pruner is told about a network: its groups of coupled channels and its residual branches."""

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
        whole_heads: remove heads whole instead.
    """

    name: str
    module: nn.Module
    side: str
    heads: int = 1
    whole_heads: bool = False


@dataclass(frozen=True)
class Branch:
    """A residual branch that can be removed as a whole: entry `index` of `owner`; `scale` multiplies its output."""

    name: str
    owner: nn.ModuleList
    index: int
    scale: nn.Parameter

    @property
    def module(self) -> nn.Module:
        return self.owner[self.index]

    def remove(self) -> None:
        """Leave an empty Sequential in its place, which the network skips."""
        self.owner[self.index] = nn.Sequential()


def width_step(width: int) -> int:
    """Widths are multiples of this: of eight, for vector units, where a group is wide enough."""
    return 8 if width >= 48 else 4 if width >= 16 else 1
