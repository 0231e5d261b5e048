"""Where the learned filterbank starts, Fourier bases under a sine taper, and the running level of its pairs."""

from __future__ import annotations

import math

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
