"""A bag of specialists: `htdemucs_ft` is four HT Demucs networks, each fine-tuned for, and asked for, one source."""

from collections.abc import Sequence

import torch
from torch import nn

from edge.models.htdemucs import HTDemucs


class Bag(nn.Module):
    """mix (B, C, L) -> stems (B, S, C, L), source i from network i alone (the released weights are the identity)."""

    def __init__(self, models: Sequence[HTDemucs]):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.config = models[0].config
        if len(models) != len(self.config.sources):
            raise ValueError(f"a bag of {len(self.config.sources)} sources needs as many networks, not {len(models)}")

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return torch.cat([model(mix)[:, i : i + 1] for i, model in enumerate(self.models)], 1)


def members(network: nn.Module) -> list[nn.Module]:
    """The networks of a bag; any other network is one of its own."""
    return list(network.models) if isinstance(network, Bag) else [network]


def with_members(network: nn.Module, networks: Sequence[nn.Module]) -> nn.Module:
    """`network` with others in place of its members."""
    return Bag(networks).eval() if isinstance(network, Bag) else networks[0]  # type: ignore[arg-type]
