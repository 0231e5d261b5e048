"""The STFT as plain matrix products, so that a graph takes a waveform (its inverse: synthesis.py).

A DFT of N = n_1 n_2 n_3 points runs in three stages of n_j-point DFTs with twiddle factors between them (Cooley & Tukey
1965): 4096 as 16 x 16 x 16 takes half the multiplications of two stages of 64, from a few kilobytes of constants.
Real arithmetic, static shapes; only matrix products, multiply, add, transpose and padding, which every runtime
delegates.

Sample a_1 n_2 n_3 + a_2 n_3 + a_3 and bin q_1 + q_2 n_1 + q_3 n_1 n_2 are counted in digits. The data lie as
[a_3, a_2, a_1, frame], and stage j makes q_j of a_j: the products of its matrices from the left leave
[a_3, ..., a_(j+1), (re, im), q_j, ..., q_1, frame], where (a_(j+1), re, im) is what the next stage sums over. So frames
stay the last axis, and nothing large is transposed between stages.
"""

import math

import torch
from torch import nn

STAGES = 3  # a fourth would take fewer multiplications still, but more time for its passes over the data


def radices(nfft: int) -> tuple[int, int, int]:
    """The three even numbers with product nfft that multiply least: those with the smallest sum."""
    if nfft < 16 or nfft % 16:
        raise ValueError(f"nfft must be a multiple of 16, not {nfft}")
    eighth = nfft // 8
    a, b, c = min(((a, b, eighth // (a * b)) for a in _divisors(eighth) for b in _divisors(eighth // a)), key=sum)
    return 2 * a, 2 * b, 2 * c


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _rotation(phase: torch.Tensor) -> torch.Tensor:
    """exp(-i phase) of (rows, columns) as a real matrix, rows in (re, im) halves and columns in (re, im) pairs."""
    cos, sin = phase.cos(), phase.sin()
    blocks = torch.stack([torch.stack([cos, sin], 2), torch.stack([-sin, cos], 2)])
    return blocks.reshape(2 * phase.shape[0], 2 * phase.shape[1]).float()


class STFT(nn.Module):
    """(C, 1, frames + 3, hop) padded hops -> (1, 2C, nfft/2, frames), as `edge.models.spectrogram.stft`.

    The matrices of a stage are a batch over the digits that are still to come: they hold the twiddle factors, the first
    also the window. Stage j turns by 2 pi q_j (a_j / n_j + a_(j+1) / (n_j n_(j+1)) + ...). The graph makes them from
    tables of n x n, which equal stages share, by angle addition: they would outweigh a small network.
    """

    def __init__(self, nfft: int, frames: int, channels: int):
        super().__init__()
        self.radices, self.frames = radices(nfft), frames
        for stage, n in enumerate(self.radices):
            phase = 2 * math.pi / n * torch.arange(n, dtype=torch.float64)[:, None] * torch.arange(n)
            self.register_buffer(f"rotation_{n}", _rotation(phase))
            self.register_buffer(f"advanced_{n}", _rotation(phase + math.pi / 2))
            self.register_buffer(f"scale_{n}", torch.full((channels, 1, 1), n**-0.5))
            for name, later, span in self._later(stage):
                turns = torch.arange(later, dtype=torch.float64)[:, None] * torch.arange(n).repeat(2) / span
                self.register_buffer(f"cos_{name}", (2 * math.pi * turns).cos().float())  # [a, (re q, im q)]
                self.register_buffer(f"sin_{name}", (2 * math.pi * turns).sin().float())
        self.register_buffer("hann", torch.tensor([0.5]))

    def _later(self, stage: int) -> list[tuple[str, int, int]]:
        """For each digit after that of `stage`: the name of its table, its radix, and n_j ... up to it."""
        n, found = self.radices[stage], []
        for last in range(stage + 1, STAGES):
            later, span = self.radices[last], math.prod(self.radices[stage : last + 1])
            found.append((f"{n}_{later}_{span}", later, span))
        return found

    def forward(self, hops: torch.Tensor) -> torch.Tensor:
        channels, t, nfft = hops.shape[0], self.frames, math.prod(self.radices)
        x = hops.reshape(channels, t + 3, nfft // 4).permute(0, 2, 1)
        # digits are reversed only here, in rows of frames: runtimes are slow at one transpose that does both
        x = torch.cat([x[..., i : i + t] for i in range(4)], 1).reshape(channels, *self.radices, t)
        x = x.permute(0, 3, 2, 1, 4)
        for stage in range(STAGES):
            matrix = self._matrices(stage)
            x = torch.bmm(matrix, x.reshape(matrix.shape[0], matrix.shape[2], -1))
        return x.reshape(1, 2 * channels, nfft // 2, t)

    def _matrices(self, stage: int) -> torch.Tensor:
        """Of stage 0, 1, 2: (channels * batch, (re q, im q), (a re, a im)).

        The first stage has real input, hence columns a; the last gives the lower half of q_3.
        """
        n, last = self.radices[stage], stage == STAGES - 1
        matrix, advanced = (getattr(self, f"{part}_{n}") for part in ("rotation", "advanced"))
        if stage == 0:
            matrix, advanced = (x.reshape(2 * n, n, 2)[..., :1].reshape(2 * n, n) for x in (matrix, advanced))
        if last:
            matrix = matrix.reshape(2, n, 2 * n)[:, : n // 2].reshape(n, 2 * n)
        matrix = matrix.reshape(1, *matrix.shape)
        if not last:
            cos, sin = self._twiddles(stage)
            matrix = matrix * cos.reshape(-1, 2 * n, 1) + advanced * sin.reshape(-1, 2 * n, 1)
        if stage == 0:  # the Hann window is (1 - cos 2 pi a / nfft) / 2, and that cosine stands at q = 1
            matrix = matrix * (self.hann - self.hann * matrix[:, 1:2])
        scale = getattr(self, f"scale_{n}")
        copies = matrix.reshape(1, *matrix.shape) * scale.reshape(-1, 1, 1, 1)
        return copies.reshape(-1, *matrix.shape[1:])

    def _twiddles(self, stage: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine (1, a_3 ... a_(j+1), (re q, im q)) of what the later digits of an index add to the phase."""
        width = 2 * self.radices[stage]
        (name, later, _), *others = self._later(stage)
        cos, sin = (getattr(self, f"{part}_{name}").reshape(1, later, width) for part in ("cos", "sin"))
        for name, later, _ in others:
            c, s = (getattr(self, f"{part}_{name}").reshape(later, 1, width) for part in ("cos", "sin"))
            cos, sin = cos * c - sin * s, sin * c + cos * s
            cos, sin = cos.reshape(1, -1, width), sin.reshape(1, -1, width)
        return cos, sin


def reflected_hops(mix: torch.Tensor, frames: int, hop: int) -> torch.Tensor:
    """(1, C, L) -> (C, 1, frames + 3, hop): the reflection by 3/2 hop at both ends that the STFT's framing needs."""
    _, channels, length = mix.shape
    left, right = hop // 2 * 3, hop // 2 * 3 + frames * hop - length
    padded = torch.cat([mix[..., 1 : left + 1].flip(-1), mix, mix[..., length - 1 - right : length - 1].flip(-1)], -1)
    return padded.reshape(channels, 1, frames + 3, hop)
