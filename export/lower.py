"""From a trained network to the module that is exported: one entry for every kind of network."""

import torch
from torch import nn

from edge.export.architectures import lowering_of
from edge.models.bag import Weights, member_weights, members, weighted_mean


class LoweredBag(nn.Module):
    """Several lowered separators in one graph, and the weighted mean of their sources."""

    def __init__(self, members: list[nn.Module], weights: Weights):
        super().__init__()
        self.members, self.weights = nn.ModuleList(members), weights

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return weighted_mean([member(mix) for member in self.members], self.weights)


def lower(model: nn.Module, segment: int | None, target: str) -> nn.Module:
    """The export form of `model`; segment: samples in a run of a separator (None: an enhancer's hop)."""
    lowered = [lowering_of(model).lower(member, segment, target) for member in members(model)]
    weights = member_weights(model)
    return lowered[0] if weights is None else LoweredBag(lowered, weights).eval()
