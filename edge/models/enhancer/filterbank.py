"""Where the learned filterbank starts, Fourier bases under a sine taper; the level and the power law of its pairs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def odd_fourier_bases(window: int) -> tuple[Tensor, Tensor]:
    """Fourier bases at odd multiples of half a bin under a sine taper: (window, window) and back.

    Rows of the analysis are `window / 2` cosines, then as many negative sines; none lies at 0 Hz or at the Nyquist
    frequency, so that every row is one of a pair. At a hop of `window / 2`, analysis, synthesis and overlap-add
    reconstruct the input exactly (Princen & Bradley 1986 for the taper). White noise of unit power gives pairs of unit
    mean power.
    """
    n = torch.arange(window, dtype=torch.float64)
    k = torch.arange(window // 2, dtype=torch.float64)
    taper = torch.sin(math.pi * (n + 0.5) / window)
    phase = 2 * math.pi * torch.outer(k + 0.5, n) / window
    bases = torch.cat([torch.cos(phase), -torch.sin(phase)]) * taper * math.sqrt(2 / window)
    return bases.float(), bases.T.contiguous().float()


def running_power(power: Tensor, state: Tensor, decay: float, block: int = 512) -> tuple[Tensor, Tensor]:
    """Exponential mean of `power` (B, T), over its sum of weights.

    state: (B, 2), the weighted sum and the sum of weights before. Returns the mean (B, T) and the next state.
    """
    news = torch.stack([power, torch.ones_like(power)], dim=2) * (1 - decay)
    outs = []
    for start in range(0, news.shape[1], block):
        part = news[:, start : start + block]
        i = torch.arange(part.shape[1], device=part.device, dtype=part.dtype)
        weights = torch.tril(decay ** (i[:, None] - i[None]).clamp_min(0))
        out = torch.matmul(weights, part) + decay ** (i[:, None] + 1) * state[:, None]
        state = out[:, -1]
        outs.append(out)
    both = torch.cat(outs, dim=1)
    return both[..., 0] / both[..., 1], state


class _PowerLaw(torch.autograd.Function):
    """`power_law` with one power a value, forwards and backwards; autograd takes two each way."""

    @staticmethod
    def forward(ctx: Any, pairs: Tensor, dim: int, exponent: float, floor: float) -> tuple[Tensor, Tensor]:
        squares = pairs.square().sum(dim, keepdim=True).add_(floor)
        magnitude = squares ** (exponent / 2)
        scale = magnitude * torch.rsqrt(squares)
        ctx.save_for_backward(pairs, squares, magnitude, scale)
        ctx.dim, ctx.exponent = dim, exponent
        return pairs * scale, magnitude

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pairs, squares, magnitude, scale = ctx.saved_tensors
        by_pairs, by_magnitude = grads
        along = (pairs * by_pairs).sum(ctx.dim, keepdim=True).mul_(scale).mul_(ctx.exponent - 1)
        along.addcmul_(by_magnitude, magnitude, value=ctx.exponent).div_(squares)
        return (by_pairs * scale).addcmul_(pairs, along), None, None, None


def power_law(pairs: Tensor, dim: int, exponent: float, floor: float, training: bool) -> tuple[Tensor, Tensor]:
    """Complex values, as pairs along `dim`, with their magnitudes to the power `exponent`; and these, with `dim` 1.

    floor: what is added to the square of a magnitude. training: by the function whose gradient is faster.
    """
    if training:
        return _PowerLaw.apply(pairs, dim, exponent, floor)
    squares = pairs.square().sum(dim, keepdim=True) + floor
    return pairs * squares ** ((exponent - 1) / 2), squares ** (exponent / 2)
