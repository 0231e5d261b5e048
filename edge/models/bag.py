"""A bag of networks: each source is a weighted mean of what the members make of it (`htdemucs_ft`: one member each)."""

from collections.abc import Sequence

import torch
from torch import nn

from edge.models.htdemucs import HTDemucs

Weights = Sequence[Sequence[float]]


class Bag(nn.Module):
    """mix (B, C, L) -> stems (B, S, C, L), the members' weighted mean (demucs' BagOfModels).

    weights: for each member one for each source (default: all ones). Raises ValueError where they do not fit, or
    where a source has none.
    """

    def __init__(self, models: Sequence[HTDemucs], weights: Weights | None = None):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.config = models[0].config
        sources = len(self.config.sources)
        self.weights = [[float(w) for w in row] for row in weights or [[1.0] * sources] * len(models)]
        if len(self.weights) != len(models) or any(len(row) != sources for row in self.weights):
            raise ValueError(f"the weights of {len(models)} members must be a list of {sources} numbers for each")
        if not all(sum(column) > 0 and min(column) >= 0 for column in zip(*self.weights, strict=True)):
            raise ValueError("each source needs a member with a weight above 0, and none below")

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return weighted_mean([model(mix) for model in self.models], self.weights)


def weighted_mean(outputs: Sequence[torch.Tensor], weights: Weights) -> torch.Tensor:
    """Of stems (B, S, C, L) by source; a source with one member is that member's, untouched."""
    sources = []
    for i, column in enumerate(zip(*weights, strict=True)):
        parts = [(w / sum(column), output[:, i : i + 1]) for w, output in zip(column, outputs, strict=True) if w]
        total = parts[0][1] if len(parts) == 1 else parts[0][1] * parts[0][0]
        for weight, part in parts[1:]:
            total = total + part * weight
        sources.append(total)
    return torch.cat(sources, 1)


def members(network: nn.Module) -> list[nn.Module]:
    """The networks of a bag; any other network is one of its own."""
    return list(network.models) if isinstance(network, Bag) else [network]


def member_weights(network: nn.Module) -> list[list[float]] | None:
    """Those of a bag: for each member one for each source; None for any other network."""
    return network.weights if isinstance(network, Bag) else None


def with_members(network: nn.Module, networks: Sequence[nn.Module]) -> nn.Module:
    """`network` with others in place of its members."""
    return Bag(networks, network.weights).eval() if isinstance(network, Bag) else networks[0]  # type: ignore[arg-type]
