"""The STFT as plain matrix products, so that a graph takes a waveform (its inverse: synthesis.py).

A DFT of N = n^s points runs in s stages of n-point DFTs with twiddle factors between them (Cooley & Tukey 1965):
N = 4096 is three stages of 16 points, half the multiplications of two stages of 64, from a few kilobytes of constants.
Real arithmetic, static shapes; only matrix products, multiply, add, transpose and padding, which every runtime
delegates.

Sample a_1 n^(s-1) + ... + a_s and bin q_1 + q_2 n + ... + q_s n^(s-1) are counted in digits. The data lie as
[a_s, ..., a_1, frame], and stage j makes q_j of a_j: the products of its matrices from the left leave
[a_s, ..., a_(j+1), (re, im), q_j, ..., q_1, frame], where (a_(j+1), re, im) is what the next stage sums over. So frames
stay the last axis, and nothing large is transposed between stages.
"""

import math

import torch
from torch import nn


def _radix(nfft: int) -> tuple[int, int]:
    """n and s with nfft = n^s; s = 4 would take fewer multiplications still, but more time for its passes over data."""
    for stages in (3, 2):
        n = round(nfft ** (1 / stages))
        if n**stages == nfft and n % 4 == 0:
            return n, stages
    raise ValueError(f"nfft must be the cube or square of a multiple of 4, not {nfft}")


def _rotation(phase: torch.Tensor) -> torch.Tensor:
    """exp(-i phase) of (rows, columns) as a real matrix, rows in (re, im) halves and columns in (re, im) pairs."""
    cos, sin = phase.cos(), phase.sin()
    blocks = torch.stack([torch.stack([cos, sin], 2), torch.stack([-sin, cos], 2)])
    return blocks.reshape(2 * phase.shape[0], 2 * phase.shape[1]).float()


class STFT(nn.Module):
    """(C, 1, frames + 3, hop) padded hops -> (1, 2C, nfft/2, frames), as `edge.models.spectrogram.stft`.

    The matrices of a stage are a batch over the digits that are still to come: they hold the twiddle factors, the
    first also the window. Stage j turns by 2 pi q_j (a_j / n + a_(j+1) / n^2 + ...). The graph makes them from tables
    of n x n by angle addition: they would outweigh a small network.
    """

    def __init__(self, nfft: int, frames: int, channels: int):
        super().__init__()
        self.n, self.stages = _radix(nfft)
        self.frames = frames
        n = self.n
        index = torch.arange(n, dtype=torch.float64)
        phase = 2 * math.pi / n * index[:, None] * index
        self.register_buffer("rotation", _rotation(phase))
        self.register_buffer("advanced", _rotation(phase + math.pi / 2))
        for digit in range(1, self.stages):
            later = (phase / n**digit).repeat(1, 2)  # [a, (re q, im q)]
            self.register_buffer(f"cos_{digit}", later.cos().float())
            self.register_buffer(f"sin_{digit}", later.sin().float())
        self.register_buffer("hann", torch.tensor([0.5]))
        self.register_buffer("scale", torch.full((channels, 1, 1), n**-0.5))  # each stage its part

    def forward(self, hops: torch.Tensor) -> torch.Tensor:
        channels, n, s, t = hops.shape[0], self.n, self.stages, self.frames
        x = hops.reshape(channels, t + 3, n**s // 4).permute(0, 2, 1)
        # digits are reversed only here, in rows of frames: runtimes are slow at one transpose that does both
        x = torch.cat([x[..., i : i + t] for i in range(4)], 1).reshape(channels, *[n] * s, t)
        x = x.permute(0, *range(s, 0, -1), s + 1)
        for stage in range(s):
            matrix = self._matrices(stage)
            x = torch.bmm(matrix, x.reshape(matrix.shape[0], matrix.shape[2], -1))
        return x.reshape(1, 2 * channels, n**s // 2, t)

    def _matrices(self, stage: int) -> torch.Tensor:
        """Of stage 0, 1, ...: (channels * batch, (re q, im q), (a re, a im)).

        The first stage has real input, hence columns a; the last gives the lower half of q_s.
        """
        n, last = self.n, stage == self.stages - 1
        matrix, advanced = self.rotation, self.advanced
        if stage == 0:
            matrix, advanced = (x.reshape(2 * n, n, 2)[..., :1].reshape(2 * n, n) for x in (matrix, advanced))
        if last:
            matrix = matrix.reshape(2, n, 2 * n)[:, : n // 2].reshape(n, 2 * n)
        matrix = matrix.reshape(1, *matrix.shape)
        if not last:
            cos, sin = self._twiddles(self.stages - stage)
            matrix = matrix * cos.reshape(-1, 2 * n, 1) + advanced * sin.reshape(-1, 2 * n, 1)
        if stage == 0:  # the Hann window is (1 - cos 2 pi a / nfft) / 2, and that cosine stands at q = 1
            matrix = matrix * (self.hann - self.hann * matrix[:, 1:2])
        copies = matrix.reshape(1, *matrix.shape) * self.scale.reshape(-1, 1, 1, 1)
        return copies.reshape(-1, *matrix.shape[1:])

    def _twiddles(self, digits: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine (1, a_s ... a_(j+1), (re q, im q)) of what the later digits of an index add to the phase."""
        n = self.n
        cos, sin = self.cos_1.reshape(1, n, 2 * n), self.sin_1.reshape(1, n, 2 * n)
        for digit in range(2, digits):
            c, s = (getattr(self, f"{part}_{digit}").reshape(n, 1, 2 * n) for part in ("cos", "sin"))
            cos, sin = cos * c - sin * s, sin * c + cos * s
            cos, sin = cos.reshape(1, -1, 2 * n), sin.reshape(1, -1, 2 * n)
        return cos, sin


def reflected_hops(mix: torch.Tensor, frames: int, hop: int) -> torch.Tensor:
    """(1, C, L) -> (C, 1, frames + 3, hop): the reflection by 3/2 hop at both ends that the STFT's framing needs."""
    _, channels, length = mix.shape
    left, right = hop // 2 * 3, hop // 2 * 3 + frames * hop - length
    padded = torch.cat([mix[..., 1 : left + 1].flip(-1), mix, mix[..., length - 1 - right : length - 1].flip(-1)], -1)
    return padded.reshape(channels, 1, frames + 3, hop)
