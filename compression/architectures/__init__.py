"""How each kind of network is pruned: a record in a file of its own, and a line here."""

from torch import nn

from edge.compression.architectures.enhancer import ENHANCER
from edge.compression.architectures.htdemucs import HTDEMUCS
from edge.compression.architectures.record import Pruning
from edge.models.architectures import architecture_of

__all__ = ["PRUNING", "Pruning", "pruning_of", "register"]

PRUNING: dict[str, Pruning] = {"htdemucs": HTDEMUCS, "enhancer": ENHANCER}


def register(kind: str, pruning: Pruning) -> None:
    """Tell how networks of a further kind are pruned."""
    PRUNING[kind] = pruning


def pruning_of(network: nn.Module) -> Pruning:
    """The record of a network's kind. Raises TypeError for a kind without one."""
    kind = architecture_of(network).kind
    if kind not in PRUNING:
        raise TypeError(f"no channel groups known for {kind}")
    return PRUNING[kind]
