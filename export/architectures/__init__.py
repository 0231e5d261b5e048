"""How each kind of network becomes a graph: a record in a file of its own, and a line here."""

from torch import nn

from edge.export.architectures.enhancer import ENHANCER
from edge.export.architectures.htdemucs import HTDEMUCS
from edge.export.architectures.record import Lowering
from edge.interface import Interface
from edge.models.architectures import architecture_of

__all__ = ["LOWERING", "Lowering", "interface_of", "lowering_of", "register"]

LOWERING: dict[str, Lowering] = {"htdemucs": HTDEMUCS, "enhancer": ENHANCER}


def register(kind: str, lowering: Lowering) -> None:
    """Tell how networks of a further kind become graphs."""
    LOWERING[kind] = lowering


def lowering_of(network: nn.Module) -> Lowering:
    """The record of a network's kind, or of a bag's members. Raises TypeError for a kind without one."""
    kind = architecture_of(network).kind
    if kind not in LOWERING:
        raise TypeError(f"cannot export {kind}")
    return LOWERING[kind]


def interface_of(network: nn.Module, seconds: float | None = None) -> Interface:
    """How the graph of a network is fed; seconds: of audio in one run of a separator, None for the network's own."""
    return lowering_of(network).interface(network, seconds)
