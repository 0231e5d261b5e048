"""HT Demucs in fp16 for ExecuTorch: half the instructions of fp32 where the processor has fp16 arithmetic (ARMv8.2)."""

from collections.abc import Sequence

import torch
from torch import nn

from edge.bundle import snr_db
from edge.export.architectures import lowering_of
from edge.export.lower import lower
from edge.interface import Interface

MIN_SNR_DB = 30.0  # rounding leaves 40 dB and more; less means that something overflows
CHECKED_SAMPLES = 44100


def in_half(model: nn.Module, target: str, precision: str, cpu: str) -> bool:
    """Whether `model` is exported in fp16 in place of int8: one for which that pays, for ExecuTorch on ARM64."""
    return (target, precision, cpu) == ("executorch", "int8", "arm64") and lowering_of(model).half_pays


@torch.no_grad()
def lower_half(
    model: nn.Module, interface: Interface, batches: Sequence[tuple[torch.Tensor, ...]]
) -> nn.Module | None:
    """`model` lowered for ExecuTorch in fp16, its inputs and outputs in fp32; None where fp16 does not hold its values.

    batches: real audio (1, C, segment); a second of the first is run, in fp32 and, slowly, in fp16.
    """
    assert interface.segment is not None
    length = min(interface.segment, CHECKED_SAMPLES)
    for (mix,) in batches[:1]:
        part = mix[..., :length]
        expected, half = (lower(model, length, form) for form in ("executorch", "executorch-fp16"))
        if not snr_db(expected(part).numpy(), half.half()(part).numpy()) >= MIN_SNR_DB:
            return None
    return lower(model, interface.segment, "executorch-fp16").half()
