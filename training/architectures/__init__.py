"""How each kind of network is trained: a record in a file of its own, and a line here."""

from torch import nn

from edge.errors import InputError
from edge.models.architectures import architecture_of
from edge.models.bag import members
from edge.training.architectures.enhancer import ENHANCER
from edge.training.architectures.htdemucs import HTDEMUCS
from edge.training.architectures.record import Training

__all__ = ["TRAINING", "Training", "register", "training_of"]

TRAINING: dict[str, Training] = {"htdemucs": HTDEMUCS, "enhancer": ENHANCER}


def register(kind: str, training: Training) -> None:
    """Tell how networks of a further kind are trained."""
    TRAINING[kind] = training


def training_of(network: nn.Module) -> Training:
    """The record of a network's kind. Raises InputError for a kind without one, and for a bag."""
    if members(network)[0] is not network:
        raise InputError("a bag of models cannot be recovered as one; recover its members one by one")
    kind = architecture_of(network).kind
    if kind not in TRAINING:
        raise InputError(f"no training is known for {kind}; known: {', '.join(TRAINING)}")
    return TRAINING[kind]
