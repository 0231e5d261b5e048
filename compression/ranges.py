"""Ranges for static int8: how much of what a layer sees its one 8-bit scale should hold."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

STEPS = 255
BINS = 1 << 14
CLIPS = [2 ** (-i / 4) for i in range(13)]  # 1 to 1/8 of what occurs


@dataclass(frozen=True)
class Range:
    """Values from low to high (zero among them) are rounded to 8 bits, others clipped; snr_db: of the signal against
    the error of both."""

    low: float
    high: float
    snr_db: float


@torch.no_grad()
def calibrated_ranges(
    module: nn.Module, names: Sequence[str], calibration: Sequence[tuple[torch.Tensor, ...]]
) -> dict[str, tuple[Range, Range]]:
    """For each of these layers the range of its input and of its output with the least squared error.

    Audio has rare peaks far above its power (40 dB and more in the first levels of a spectrogram): a scale that holds
    them all rounds the rest away. calibration: inputs of the module, run twice each, for the extremes and for a
    histogram between them.
    """
    sides = [(name, side) for name in names for side in (0, 1)]
    extremes = {key: torch.zeros(2) for key in sides}
    for key, x in _seen(module, names, calibration):
        low, high = torch.aminmax(x)
        extremes[key] = torch.stack([extremes[key][0].minimum(low), extremes[key][1].maximum(high)])
    counts = {key: torch.zeros(BINS, dtype=torch.float64) for key in sides}
    for key, x in _seen(module, names, calibration):
        low, high = extremes[key].tolist()
        if high > low:
            counts[key] += torch.histc(x, BINS, low, high)
    best = {key: _least_error(counts[key], *extremes[key].tolist()) for key in sides}
    return {name: (best[name, 0], best[name, 1]) for name in names}


def _seen(
    module: nn.Module, names: Sequence[str], calibration: Sequence[tuple[torch.Tensor, ...]]
) -> Iterator[tuple[tuple[str, int], torch.Tensor]]:
    """Inputs (side 0) and outputs (side 1) of the layers, one run at a time."""
    seen: list[tuple[tuple[str, int], torch.Tensor]] = []
    hooks = [
        module.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: seen.extend([((name, 0), inputs[0]), ((name, 1), output)])
        )
        for name in names
    ]
    try:
        for example in calibration if names else ():
            module(*example)
            yield from seen
            seen.clear()
    finally:
        for hook in hooks:
            hook.remove()


def _least_error(counts: torch.Tensor, low: float, high: float) -> Range:
    """Of the extremes scaled by CLIPS, the range whose rounding and clipping cost least."""
    width = (high - low) / len(counts)
    values = low + width * (torch.arange(len(counts), dtype=torch.float64) + 0.5)
    power = (counts * values**2).sum().item()
    if power == 0:
        return Range(low, high, math.inf)
    best = Range(low, high, -math.inf)
    for clip in CLIPS:
        step = clip * (high - low) / STEPS
        held = values.clamp(clip * low, clip * high)
        error = (counts * ((torch.round(held / step) * step - values) ** 2 + width**2 / 12)).sum().item()
        snr = 10 * math.log10(power / error)
        if snr > best.snr_db:
            best = Range(clip * low, clip * high, snr)
    return best
