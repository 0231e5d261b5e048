"""Which precision a graph gets, and the lowered form that goes with it.

fp16 takes half the instructions of fp32 where the processor has fp16 arithmetic.
"""

from collections.abc import Sequence

import torch
from torch import nn

from edge.bundle import snr_db
from edge.compression.precisions import AUTO, Precision, precision_named
from edge.compression.precisions.fp16 import FP16
from edge.compression.precisions.int8 import INT8
from edge.compression.processors import Processor
from edge.errors import EdgeError, InputError
from edge.export.architectures import lowering_of
from edge.export.backends import Exporter
from edge.export.lower import lower
from edge.interface import Interface

MIN_SNR_DB = 30.0  # rounding leaves 40 dB and more; less means that something overflows
CHECKED_SAMPLES = 44100


def choose(model: nn.Module, name: str, exporter: Exporter, processor: Processor) -> Precision:
    """The precision of that name; for "auto" fp16 where backend, processor and network have it and it pays, else int8.

    Raises InputError for a precision that nobody registered, or that this backend or network lacks.
    """
    able = exporter.half_form is not None and lowering_of(model).half_pays
    if name == AUTO:
        return FP16 if able and processor.half else INT8
    precision = precision_named(name)
    if precision.half and not able:
        where = f"this network, or the {exporter.form} backend, does not compute in it"
        raise InputError(f"no {name} here: {where}; choose another precision, or auto")
    return precision


def chosen_form(
    model: nn.Module,
    interface: Interface,
    exporter: Exporter,
    name: str,
    processor: Processor,
    batches: Sequence[tuple[torch.Tensor, ...]],
) -> tuple[Precision, nn.Module]:
    """The precision that a graph gets, and `model` in the form for it; "auto" takes int8 where fp16 would overflow.

    Raises EdgeError where a precision that was asked for by name does not hold the network's values.
    """
    precision = choose(model, name, exporter, processor)
    if precision.half:
        lowered = lower_half(model, interface, exporter, batches)
        if lowered is not None:
            return precision, lowered
        if name != AUTO:
            raise EdgeError(f"the network's values do not fit in {name}: choose another precision")
        precision = INT8
    return precision, lower(model, interface.segment, exporter.form)


@torch.no_grad()
def lower_half(
    model: nn.Module, interface: Interface, exporter: Exporter, batches: Sequence[tuple[torch.Tensor, ...]]
) -> nn.Module | None:
    """`model` lowered in fp16, its inputs and outputs in fp32; None where fp16 does not hold its values.

    batches: real audio (1, C, segment); a second of the first is run, in fp32 and, slowly, in fp16.
    """
    assert interface.segment is not None and exporter.half_form is not None
    length = min(interface.segment, CHECKED_SAMPLES)
    for (mix,) in batches[:1]:
        part = mix[..., :length]
        expected, half = (lower(model, length, form) for form in (exporter.form, exporter.half_form))
        if not snr_db(expected(part).numpy(), half.half()(part).numpy()) >= MIN_SNR_DB:
            return None
    return lower(model, interface.segment, exporter.half_form).half()
