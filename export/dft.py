"""STFT and inverse STFT as plain matrix products, so that a graph takes a waveform and gives waveforms.

A DFT of N = n * n points runs in two stages of n-point DFTs with twiddle factors between them (Cooley & Tukey 1965):
with N = 4096 that is 64 x 64, a few thousand constants instead of the 16 million of one big matrix. Real arithmetic,
static shapes; only Linear, multiply, add, transpose and padding, which every runtime delegates.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class _Twiddle(nn.Module):
    """Multiply complex numbers, held as (re, im) halves of the last axis, by constant unit phases (n, n)."""

    def __init__(self, phase: torch.Tensor):
        super().__init__()
        self.register_buffer("cos", phase.cos().float())
        self.register_buffer("sin", phase.sin().float())
        self.n = phase.shape[-1]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        re, im = x[..., : self.n], x[..., self.n :]
        return re * self.cos - im * self.sin, re * self.sin + im * self.cos


def _linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.float(), requires_grad=False)
    return layer


def _complex_rows(phase: torch.Tensor) -> torch.Tensor:
    """Matrix that multiplies (re, im) pairs by exp(i phase): (2 * rows, 2 * columns)."""
    cos, sin = phase.cos(), phase.sin()
    return torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)], 0)


def _size(nfft: int) -> int:
    n = math.isqrt(nfft)
    if n * n != nfft or n % 2:
        raise ValueError(f"nfft must be an even square, not {nfft}")
    return n


class STFT(nn.Module):
    """(C, 1, frames + 3, hop) padded hops -> (1, 2C, nfft/2, frames), as `edge.models.spectrogram.stft`."""

    def __init__(self, nfft: int, frames: int):
        super().__init__()
        self.n, self.frames = n, frames = _size(nfft), frames
        index = torch.arange(n, dtype=torch.float64)
        phase = -2 * math.pi / n * index[:, None] * index[None]  # [q, a], then [p, b]
        scale = nfft**-0.5
        self.register_buffer("window", torch.hann_window(nfft, dtype=torch.float64).float() * scale)
        self.first = _linear(torch.cat([phase.cos(), phase.sin()], 0))  # over a: real -> complex in q
        self.twiddle = _Twiddle(-2 * math.pi / nfft * index[:, None] * index[None])  # [b, q]
        self.second = _linear(_complex_rows(phase[: n // 2]))  # over b: complex -> complex in p

    def forward(self, hops: torch.Tensor) -> torch.Tensor:
        channels, n, t = hops.shape[0], self.n, self.frames
        frames = torch.cat([hops[:, :, i : i + t] for i in range(4)], -1) * self.window  # (C, 1, T, nfft)
        x = frames.reshape(channels * t, n, n).permute(0, 2, 1)  # sample 64 a + b as [b, a]
        re, im = self.twiddle(self.first(x))  # [b, q]
        x = torch.cat([re.permute(0, 2, 1), im.permute(0, 2, 1)], -1)  # [q, (re b, im b)]
        x = self.second(x).reshape(channels, t, n, n)  # [q, (re p, im p)], bin 64 p + q
        return x.permute(0, 3, 2, 1).reshape(1, 2 * channels, n * n // 2, t)


class InverseSTFT(nn.Module):
    """(1, 2C, nfft/2, frames) -> (C, 1, frames + 3, hop) overlapped hops, before the cut of the padding.

    The caller has weighted bin 0 by 1/2 (see `bin_weights`), since a real signal has every other bin twice.
    """

    def __init__(self, nfft: int, frames: int):
        super().__init__()
        self.n, self.frames = n, frames = _size(nfft), frames
        index = torch.arange(n, dtype=torch.float64)
        phase = 2 * math.pi / n * index[:, None] * index[None]  # [b, p], then [a, q]
        # Hann squared at hop nfft/4 overlaps to 1.5; both halves of the spectrum count, hence 2
        window = torch.hann_window(nfft, dtype=torch.float64) * (2 / 1.5 * nfft**-0.5)
        self.register_buffer("window", window.float())
        self.first = _linear(_complex_rows(phase[:, : n // 2]))  # over p: complex -> complex in b
        self.twiddle = _Twiddle(2 * math.pi / nfft * index[:, None] * index[None])  # [q, b]
        self.second = _linear(torch.cat([phase.cos(), -phase.sin()], 1))  # over q: complex -> real in a

    def forward(self, spec: torch.Tensor) -> torch.Tensor:
        channels, n, t = spec.shape[1] // 2, self.n, self.frames
        x = spec.reshape(channels, n, n, t).permute(0, 3, 2, 1)  # [(re p, im p), q] -> [q, (re p, im p)]
        re, im = self.twiddle(self.first(x.reshape(channels * t, n, n)))  # [q, b]
        x = torch.cat([re.permute(0, 2, 1), im.permute(0, 2, 1)], -1)  # [b, (re q, im q)]
        x = self.second(x).permute(0, 2, 1).reshape(channels, 1, t, n * n) * self.window
        hop = n * n // 4
        parts = [F.pad(x[..., i * hop : (i + 1) * hop], (0, 0, i, 3 - i)) for i in range(4)]
        return (parts[0] + parts[1]) + (parts[2] + parts[3])


def bin_weights(nfft: int) -> torch.Tensor:
    """(1, 1, nfft/2, 1) weights that `InverseSTFT` wants on its input."""
    weights = torch.ones(1, 1, nfft // 2, 1)
    weights[:, :, 0] = 0.5
    return weights


def reflected_hops(mix: torch.Tensor, frames: int, hop: int) -> torch.Tensor:
    """(1, C, L) -> (C, 1, frames + 3, hop): the reflection by 3/2 hop at both ends that the STFT's framing needs."""
    _, channels, length = mix.shape
    left, right = hop // 2 * 3, hop // 2 * 3 + frames * hop - length
    padded = torch.cat(
        [mix[..., 1 : left + 1].flip(-1), mix, mix[..., length - 1 - right : length - 1].flip(-1)], -1
    )
    return padded.reshape(channels, 1, frames + 3, hop)
