"""STFT and inverse STFT as plain matrix products, so that a graph takes a waveform and gives waveforms.

A DFT of N = n * n points runs in two stages of n-point DFTs with twiddle factors between them (Cooley & Tukey 1965):
with N = 4096 that is 64 x 64, a few thousand constants instead of the 16 million of one big matrix. Real arithmetic,
static shapes; only Linear, multiply, add, transpose and padding, which every runtime delegates.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def _complex_rows(phase: torch.Tensor) -> nn.Linear:
    """The Linear that multiplies (re, im) halves of the last axis by exp(i phase): (rows, columns) of phase."""
    cos, sin = phase.cos(), phase.sin()
    weight = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)], 0).float()
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


class WindowedPhases(nn.Module):
    """exp(i (2 pi / n a q + 2 pi / n^2 b q)) times the window at sample n a + b, for each b a matrix over a and q.

    One stage of the transform, its twiddle factors and the window are one batched product with these. They are made
    in the graph from tables of n x n, by angle addition: n^3 constants would outweigh a small network.
    """

    def __init__(self, nfft: int):
        super().__init__()
        self.n = n = math.isqrt(nfft)
        if n * n != nfft or n % 4:
            raise ValueError(f"nfft must be the square of a multiple of 4, not {nfft}")
        index = torch.arange(n, dtype=torch.float64)
        product = index[:, None] * index
        for name, phase in (("coarse", 2 * math.pi / n * product), ("fine", 2 * math.pi / nfft * product)):
            self.register_buffer(f"{name}_cos", phase.cos().float())
            self.register_buffer(f"{name}_sin", phase.sin().float())
        self.register_buffer("window", torch.hann_window(nfft, dtype=torch.float64).float().reshape(n, n))

    def forward(self, inverse: bool, gain: float) -> torch.Tensor:
        """(b, a, [q re, q im]) with negative phases, or for the inverse (b, [q re, -q im], a) with positive ones."""
        n = self.n
        fine = (n, n, 1) if inverse else (n, 1, n)
        window = (self.window * gain).permute(1, 0).reshape((n, 1, n) if inverse else (n, n, 1))
        cos_b, sin_b = self.fine_cos.reshape(fine) * window, self.fine_sin.reshape(fine) * window
        cos_a, sin_a = self.coarse_cos.reshape(1, n, n), self.coarse_sin.reshape(1, n, n)
        cos = cos_a * cos_b - sin_a * sin_b
        minus_sin = -(sin_a * cos_b) - cos_a * sin_b
        return torch.cat([cos, minus_sin], 1 if inverse else 2)


class STFT(nn.Module):
    """(C, 1, frames + 3, hop) padded hops -> (1, 2C, nfft/2, frames), as `edge.models.spectrogram.stft`."""

    def __init__(self, phases: WindowedPhases, frames: int):
        super().__init__()
        self.phases, self.n, self.frames = phases, phases.n, frames
        index = torch.arange(self.n, dtype=torch.float64)
        self.columns = _complex_rows(-2 * math.pi / self.n * index[: self.n // 2, None] * index)  # [p, b]

    def forward(self, hops: torch.Tensor) -> torch.Tensor:
        channels, n, t = hops.shape[0], self.n, self.frames
        frames = torch.cat([hops[:, :, i : i + t] for i in range(4)], -1)  # (C, 1, T, nfft), sample n a + b
        x = frames.reshape(channels * t, n, n).permute(2, 0, 1)  # [b, frame, a]
        x = torch.bmm(x, self.phases(False, 1 / n))  # [b, frame, (re q, im q)]
        x = x.reshape(n, channels * t, 2, n).permute(1, 3, 2, 0).reshape(channels * t, n, 2 * n)  # [q, (re b, im b)]
        x = self.columns(x).reshape(channels, t, n, n)  # [q, (re p, im p)], bin n p + q
        return x.permute(0, 3, 2, 1).reshape(1, 2 * channels, n * n // 2, t)


class InverseSTFT(nn.Module):
    """(1, 2C, nfft/2, frames) -> (C, 1, frames + 3, hop) overlapped hops, before the cut of the padding.

    The caller has weighted bin 0 by 1/2 (see `bin_weights`), since a real signal has every other bin twice.
    """

    def __init__(self, phases: WindowedPhases, frames: int):
        super().__init__()
        self.phases, self.n, self.frames = phases, phases.n, frames
        index = torch.arange(self.n, dtype=torch.float64)
        self.columns = _complex_rows(2 * math.pi / self.n * index[:, None] * index[: self.n // 2])  # [b, p]

    def forward(self, spec: torch.Tensor) -> torch.Tensor:
        channels, n, t = spec.shape[1] // 2, self.n, self.frames
        x = spec.reshape(channels, n, n, t).permute(0, 3, 2, 1)  # [frame, q, (re p, im p)]
        x = self.columns(x).reshape(channels * t, n, 2, n)  # [frame, q, re or im, b]
        x = x.permute(3, 0, 2, 1).reshape(n, channels * t, 2 * n)  # [b, frame, (re q, im q)]
        # Hann squared at hop nfft/4 overlaps to 1.5; both halves of the spectrum count, hence 2
        x = torch.bmm(x, self.phases(True, 2 / 1.5 / n)).reshape(n, channels, t, n)  # [b, channel, frame, a]
        quarter = n // 4
        parts = [F.pad(x[..., i * quarter : (i + 1) * quarter], (0, 0, i, 3 - i)) for i in range(4)]
        hops = (parts[0] + parts[1]) + (parts[2] + parts[3])  # [b, channel, hop, a]
        return hops.permute(1, 2, 3, 0).reshape(channels, 1, t + 3, n * quarter)


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
