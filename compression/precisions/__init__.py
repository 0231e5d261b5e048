"""The precisions that graphs can be made in: a record in a file of its own, and a line here."""

from collections.abc import Sequence

from torch import nn

from edge.backends import backend_named
from edge.compression.int8 import PlannedLayer
from edge.compression.precisions.fp16 import FP16
from edge.compression.precisions.fp32 import FP32
from edge.compression.precisions.int8 import INT8
from edge.compression.precisions.record import LayerFormat, Precision, Tensors
from edge.compression.processors import processor_named
from edge.errors import InputError

__all__ = [
    "AUTO",
    "PRECISIONS",
    "LayerFormat",
    "Precision",
    "is_tuned",
    "layer_format",
    "plan_precision",
    "precision_named",
    "register",
]

PRECISIONS: dict[str, Precision] = {p.name: p for p in (FP32, FP16, INT8)}
AUTO = "auto"  # the choice by measurement among them, of every graph for itself


def register(precision: Precision) -> None:
    """Make a further precision known by its name."""
    PRECISIONS[precision.name] = precision


def precision_named(name: str) -> Precision:
    """Raises InputError for a name that nobody registered."""
    if name not in PRECISIONS:
        raise InputError(f"unknown precision {name!r}; known: {AUTO}, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def is_tuned(name: str) -> bool:
    """Whether the processor matters to a precision, or to the choice among them."""
    return name == AUTO or precision_named(name).tuned


def plan_precision(
    module: nn.Module,
    precision: str,
    backend: str,
    target: str,
    example: Tensors,
    calibration: Sequence[Tensors] = (),
) -> list[PlannedLayer]:
    """The format of each weighted layer of a lowered module, by the names of a precision, a backend and a processor.

    example, calibration: see Precision.plan. Raises InputError for a name that nobody registered.
    """
    records = backend_named(backend), processor_named(target)
    return precision_named(precision).plan(module, *records, example, calibration)


def layer_format(name: str) -> LayerFormat:
    """How weights of a layer's format are stored. Raises KeyError for a format of no registered precision."""
    return next(p.formats[name] for p in PRECISIONS.values() if name in p.formats)
