"""The kinds of networks: a record each in a file of its own, and a line here. Another one joins by `register`."""

from torch import nn

from edge.models.architectures.enhancer import ENHANCER
from edge.models.architectures.htdemucs import HTDEMUCS
from edge.models.architectures.record import Architecture
from edge.models.bag import members

__all__ = ["ARCHITECTURES", "Architecture", "architecture_of", "register"]

ARCHITECTURES: dict[str, Architecture] = {a.kind: a for a in (HTDEMUCS, ENHANCER)}


def register(architecture: Architecture) -> None:
    """Make a further kind of network known."""
    ARCHITECTURES[architecture.kind] = architecture


def architecture_of(network: nn.Module) -> Architecture:
    """The record of a network, or of a bag's members. Raises TypeError for one that nobody registered."""
    found = type(members(network)[0])
    for architecture in ARCHITECTURES.values():
        if found is architecture.network:
            return architecture
    raise TypeError(f"{found.__name__} is no registered architecture")
