"""From a trained network to the module that is exported: one entry for every kind of network."""

import torch
from torch import nn

from edge.export.architectures import lowering_of
from edge.export.norms import Target
from edge.models.bag import members


class LoweredBag(nn.Module):
    """Several lowered separators in one graph, source i taken from graph i."""

    def __init__(self, members: list[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return torch.cat([member(mix)[:, i : i + 1] for i, member in enumerate(self.members)], 1)


def lower(model: nn.Module, segment: int | None, target: Target) -> nn.Module:
    """The export form of `model`; segment: samples in a run of a separator (None: an enhancer's hop)."""
    lowered = [lowering_of(model).lower(member, segment, target) for member in members(model)]
    return lowered[0] if members(model)[0] is model else LoweredBag(lowered).eval()
