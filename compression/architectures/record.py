"""What compression knows of a kind of network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from edge.compression.groups import Branch, ChannelGroup


def _no_branches(network: nn.Module) -> list[Branch]:
    return []


def _same_share(ratio: float) -> float:
    return 1 - ratio


def _nothing(network: nn.Module) -> None:
    return None


@dataclass(frozen=True)
class Pruning:
    """How a kind of network is made thinner; its kind is that of edge.models.architectures.

    groups: its sets of coupled channels. trace: keyword arguments of `torch_pruning.DependencyGraph.build_dependency`.
    clips: real audio for its forward, to judge the channels by, not as quality is measured on it. output: of the
    forward, for a clip. branches: residual branches that can leave. width: what is left, as the share of every width
    that would leave as much (`allocate`), by ratio. settle: called on the thinned network, for
    attributes that follow from widths.
    """

    groups: Callable[[Any], Sequence[ChannelGroup]]
    trace: Callable[[Any], dict[str, Any]]
    clips: Callable[[Any], list[Tensor]]
    output: Callable[[Any, Tensor], Tensor]
    branches: Callable[[Any], Sequence[Branch]] = _no_branches
    settle: Callable[[Any], None] = _nothing
    width: Callable[[float], float] = _same_share
