"""From a trained network to the module that is exported: one entry for every model."""

import torch
from torch import nn

from edge.export.lower_enhancer import lower_enhancer
from edge.export.lower_htdemucs import lower_htdemucs
from edge.export.norms import Target
from edge.models.bag import Bag
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs


class LoweredBag(nn.Module):
    """Several lowered separators in one graph, source i taken from graph i."""

    def __init__(self, members: list[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return torch.cat([member(mix)[:, i : i + 1] for i, member in enumerate(self.members)], 1)


def lower(model: nn.Module, segment: int | None, target: Target) -> nn.Module:
    """The export form of `model`; segment: samples a run of a separator (ignored by the enhancer: one hop)."""
    if isinstance(model, Bag):
        assert segment is not None
        return LoweredBag([lower_htdemucs(m, segment, target) for m in model.models]).eval()  # type: ignore[arg-type]
    if isinstance(model, HTDemucs):
        assert segment is not None
        return lower_htdemucs(model, segment, target)
    if isinstance(model, Enhancer):
        return lower_enhancer(model, target)
    raise TypeError(f"cannot export {type(model).__name__}")
