"""STFT and inverse STFT as plain matrix products, so that a graph takes a waveform and gives waveforms.

A DFT of N = n * n points runs in two stages of n-point DFTs with twiddle factors between them (Cooley & Tukey 1965):
with N = 4096 that is 64 x 64, a few thousand constants instead of the 16 million of one big matrix. Real arithmetic,
static shapes; only matrix products, multiply, add, transpose and padding, which every runtime delegates.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def _rows(phase: torch.Tensor, interleave_out: bool) -> torch.Tensor:
    """Real matrix of exp(i phase), (rows, columns) of phase: one side (re, im) halves, the other (re, im) pairs.

    interleave_out: the rows are pairs [r re, r im] and the columns halves; else the other way round.
    """
    cos, sin = phase.cos(), phase.sin()
    blocks = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])  # (out part, in part, rows, columns)
    rows, columns = phase.shape
    order = (2, 0, 1, 3) if interleave_out else (0, 2, 3, 1)
    return blocks.permute(order).reshape(2 * rows, 2 * columns).float()


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
        window = torch.hann_window(nfft, dtype=torch.float64).reshape(n, n)  # [a, b]
        self.register_buffer("window", window.t().float().contiguous())

    def forward(self, inverse: bool, gain: float, copies: int) -> torch.Tensor:
        """(copies * b, (re q, im q), a) with negative phases; the inverse (copies * b, a, (re q, -im q)), positive."""
        n = self.n
        fine, over_a = ((n, 1, n), (n, n, 1)) if inverse else ((n, n, 1), (n, 1, n))
        window = (self.window * gain).reshape(over_a)
        cos_b, sin_b = self.fine_cos.reshape(fine) * window, self.fine_sin.reshape(fine) * window
        cos_a, sin_a = self.coarse_cos.reshape(1, n, n), self.coarse_sin.reshape(1, n, n)
        cos = cos_a * cos_b - sin_a * sin_b
        minus_sin = -(sin_a * cos_b) - cos_a * sin_b
        return torch.cat([torch.cat([cos, minus_sin], 2 if inverse else 1)] * copies, 0)


class STFT(nn.Module):
    """(C, 1, frames + 3, hop) padded hops -> (1, 2C, nfft/2, frames), as `edge.models.spectrogram.stft`.

    Frames stay the last axis and products come from the left, so that nothing large is ever transposed.
    """

    def __init__(self, phases: WindowedPhases, frames: int):
        super().__init__()
        self.phases, self.n, self.frames = phases, phases.n, frames
        index = torch.arange(self.n, dtype=torch.float64)
        phase = -2 * math.pi / self.n * index[: self.n // 2, None] * index  # [p, b]
        self.register_buffer("columns", _rows(phase, interleave_out=False)[None])

    def forward(self, hops: torch.Tensor) -> torch.Tensor:
        channels, n, t = hops.shape[0], self.n, self.frames
        x = hops.reshape(channels, t + 3, n // 4, n).permute(0, 3, 2, 1)  # sample n a + b of a hop as [b, a, hop]
        x = torch.cat([x[..., i : i + t] for i in range(4)], 2)  # (C, b, a, frame)
        x = torch.bmm(self.phases(False, 1 / n, channels), x.reshape(channels * n, n, t))  # [b, (re q, im q), frame]
        x = x.reshape(channels, 2 * n, n * t)  # [(b re, b im), (q, frame)]
        x = torch.bmm(torch.cat([self.columns] * channels, 0), x)  # [(re p, im p), (q, frame)], bin n p + q
        return x.reshape(1, 2 * channels, n * n // 2, t)


class InverseSTFT(nn.Module):
    """(1, 2C, nfft/2, frames) -> (C, 1, frames + 3, hop) overlapped hops, before the cut of the padding.

    The caller has weighted bin 0 by 1/2 (see `bin_weights`), since a real signal has every other bin twice.
    """

    def __init__(self, phases: WindowedPhases, frames: int):
        super().__init__()
        self.phases, self.n, self.frames = phases, phases.n, frames
        index = torch.arange(self.n, dtype=torch.float64)
        phase = 2 * math.pi / self.n * index[:, None] * index[: self.n // 2]  # [b, p]
        self.register_buffer("columns", _rows(phase, interleave_out=True)[None])

    def forward(self, spec: torch.Tensor) -> torch.Tensor:
        channels, n, t = spec.shape[1] // 2, self.n, self.frames
        x = spec.reshape(channels, n, n * t)  # [(re p, im p), (q, frame)]
        x = torch.bmm(torch.cat([self.columns] * channels, 0), x)  # [(b re, b im), (q, frame)]
        x = x.reshape(channels * n, 2 * n, t)  # [b, (re q, im q), frame]
        # Hann squared at hop nfft/4 overlaps to 1.5; both halves of the spectrum count, hence 2
        x = torch.bmm(self.phases(True, 2 / 1.5 / n, channels), x).reshape(channels, n, n, t)  # [b, a, frame]
        quarter = n // 4
        parts = [F.pad(x[:, :, i * quarter : (i + 1) * quarter], (i, 3 - i)) for i in range(4)]
        hops = (parts[0] + parts[1]) + (parts[2] + parts[3])  # [b, a, hop]
        return hops.permute(0, 3, 2, 1).reshape(channels, 1, t + 3, n * quarter)


def bin_weights(nfft: int) -> torch.Tensor:
    """(1, 1, nfft/2, 1) weights that `InverseSTFT` wants on its input."""
    weights = torch.ones(1, 1, nfft // 2, 1)
    weights[:, :, 0] = 0.5
    return weights


def reflected_hops(mix: torch.Tensor, frames: int, hop: int) -> torch.Tensor:
    """(1, C, L) -> (C, 1, frames + 3, hop): the reflection by 3/2 hop at both ends that the STFT's framing needs."""
    _, channels, length = mix.shape
    left, right = hop // 2 * 3, hop // 2 * 3 + frames * hop - length
    padded = torch.cat([mix[..., 1 : left + 1].flip(-1), mix, mix[..., length - 1 - right : length - 1].flip(-1)], -1)
    return padded.reshape(channels, 1, frames + 3, hop)
