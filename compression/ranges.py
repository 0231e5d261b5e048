"""Ranges for static int8: what a layer's one 8-bit scale has to hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

STEPS = 255


@dataclass(frozen=True)
class Range:
    """The least and the greatest value, zero among them; snr_db: of the values against their rounding to 8 bits."""

    low: float
    high: float
    snr_db: float


@torch.no_grad()
def calibrated_ranges(
    module: nn.Module, names: Sequence[str], calibration: Sequence[tuple[torch.Tensor, ...]]
) -> dict[str, tuple[Range, Range]]:
    """For each of these layers the range of its input and of its output; calibration: inputs of the module.

    Peaks are never clipped, however rare: ranges of least squared error cost htdemucs-mini 0.45 dB on songs that were
    louder somewhere than the calibration audio.
    """
    sides = [(name, side) for name in names for side in (0, 1)]
    low, high, energy, count = (dict.fromkeys(sides, 0.0) for _ in range(4))

    def note(name: str, *tensors: torch.Tensor) -> None:
        for side, x in enumerate(tensors):
            key = name, side
            least, most = (v.item() for v in torch.aminmax(x))
            low[key], high[key] = min(low[key], least), max(high[key], most)
            # a layer may run several times in one pass: once for each tile
            energy[key] += x.square().mean().item() * x.numel()
            count[key] += x.numel()

    hooks = [module.get_submodule(n).register_forward_hook(lambda _, x, y, n=n: note(n, x[0], y)) for n in names]
    try:
        for example in calibration if names else ():
            module(*example)
    finally:
        for hook in hooks:
            hook.remove()

    def measured(key: tuple[str, int]) -> Range:
        rounding = ((high[key] - low[key]) / STEPS) ** 2 / 12
        power = energy[key] / max(1, count[key])
        snr = 10 * math.log10(power / rounding) if rounding and power else math.inf  # squares underflow
        return Range(low[key], high[key], snr)

    return {name: (measured((name, 0)), measured((name, 1))) for name in names}
