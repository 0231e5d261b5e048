"""The last transposed convolution of HT Demucs and the inverse STFT behind it, as one linear map.

The convolution spreads K = nfft / (2 stride) rows a over nfft / 2 bins: bin stride k + j - p gets tap j of row k. Its
inverse DFT is that of the rows, which repeats every M = nfft / stride samples, times the inverse DFT of the taps:

    y[n] = w[n] Re sum_i (sum_j W_ij exp(2 pi i (j - p) n / nfft)) z_i[n mod M]
    z_i[m] = sum_k a_ik exp(2 pi i k m / M)

Spectra of all outputs, larger than any other tensor of the network and read several times, never exist: with 16 input
channels this is half of the multiplications of both steps, with the window w part of the matrices. As a is real,
z[M - m] is the conjugate of z[m], and half of the points suffice. Rows at both ends also reach bins that do not exist,
and bin 0 counts half (a real signal has every other bin twice): a small product takes those back.

The DFT of the rows runs in two stages (Cooley & Tukey 1965), k = k0 + P k1 and m = m0 + Q m1 with P Q = M, which leave
frames on the last axis. Only matrix products, multiply, add, transpose and padding; tables of a few kilobytes, which
the graph expands by angle addition.
"""

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

TILES = 4


def _factors(points: int) -> tuple[int, int]:
    """Even P and Q with P Q = points for which the two stages multiply least."""
    pairs = [(p, points // p) for p in range(2, points // 2 + 1, 2) if points % (2 * p) == 0]
    if not pairs:
        raise ValueError(f"{points} has no two even factors")
    return min(pairs, key=lambda pair: (pair[1] // 2 + 1) * (points + (2 * pair[0]) ** 2))


class Rotations(nn.Module):
    """Cosines and sines of 2 pi rate (index_0 + index_1), (I0, I1, R) each, from tables of I0 x R and I1 x R."""

    def __init__(self, first: torch.Tensor, second: torch.Tensor, rates: torch.Tensor):
        super().__init__()
        for name, index, axis in (("first", first, 1), ("second", second, 0)):
            turns = (index.double()[:, None] * rates.double()).unsqueeze(axis)
            self.register_buffer(f"{name}_cos", (2 * math.pi * turns).cos().float())
            self.register_buffer(f"{name}_sin", (2 * math.pi * turns).sin().float())

    @classmethod
    def tiled(cls, first: torch.Tensor, second: torch.Tensor, rates: torch.Tensor) -> nn.ModuleList:
        """In TILES parts of the first index, which share the tables of the second."""
        whole, *others = parts = [cls(part, second, rates) for part in first.tensor_split(TILES)]
        for part in others:
            part.second_cos, part.second_sin = whole.second_cos, whole.second_sin
        return nn.ModuleList(parts)

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        cos = self.first_cos * self.second_cos - self.first_sin * self.second_sin
        sin = self.first_sin * self.second_cos + self.first_cos * self.second_sin
        return cos, sin


class Synthesis(nn.Module):
    """Rows (1, C, K, frames) -> (S, 1, frames + 3, hop): the overlapped hops, before the cut of the padding, of the
    inverse STFT of `scale` conv_tr(rows) + `offset`, whose 2 S channels are (signal, re or im).

    conv_tr: kernel (taps, 1), stride (4, 1), at most two strides of taps, padding that leaves 4 K bins.
    """

    def __init__(self, conv_tr: nn.ConvTranspose2d, nfft: int, frames: int):
        super().__init__()
        stride, taps, crop = conv_tr.stride[0], conv_tr.kernel_size[0], int(conv_tr.padding[0])
        if stride != 4 or taps != stride + 2 * crop or crop > stride // 2:
            raise ValueError(f"no synthesis for a stride of {stride}, {taps} taps and padding {crop}")
        channels, signals = conv_tr.in_channels, conv_tr.out_channels // 2
        self.hop, self.frames, self.signals, self.crop = nfft // 4, frames, signals, crop
        self.p, self.q = _factors(self.hop)
        p, q, half = self.p, self.q, self.q // 2
        weight = conv_tr.weight.detach().reshape(channels, signals, 2, taps).permute(3, 2, 1, 0)
        self.weight = nn.Parameter(weight.contiguous())  # (taps, re or im, S, C)
        bias = torch.zeros(2 * signals) if conv_tr.bias is None else conv_tr.bias.detach()
        self.bias = nn.Parameter(bias.reshape(signals, 2).t().reshape(2, signals, 1).contiguous())

        # first stage: rows k1 to points m0 = 0 ... Q/2, re and im; the others are conjugates of these
        angle = 2 * math.pi / q * torch.arange(half + 1)[:, None].double() * torch.arange(half)
        self.register_buffer("split", torch.stack([angle.cos(), angle.sin()], 1).reshape(1, -1, half).float())
        m0, m1 = torch.arange(half + 1), q * torch.arange(p)
        offsets = torch.arange(taps) - crop
        self.second = Rotations.tiled(m0, m1, torch.arange(p) / self.hop)
        self.taps = Rotations.tiled(m0, m1, offsets / nfft)
        self._keep_turns(offsets)
        # what is taken back, at every sample of a hop
        self.beyond = [*range(-crop, 1), *range(nfft // 2, nfft // 2 + crop)]
        self.ends = Rotations(torch.arange(q), m1, torch.tensor([*self.beyond, 1]) / nfft)
        quarter = torch.arange(4)[:, None].double() * torch.tensor([*self.beyond, 1]) / 4
        self.register_buffer("quarter_cos", (2 * math.pi * quarter).cos().round().float())
        self.register_buffer("quarter_sin", (2 * math.pi * quarter).sin().round().float())
        self.register_buffer("share", -torch.tensor([0.5 if b == 0 else 1.0 for b in self.beyond]).float())
        # the transform is normalised; Hann squared at hop nfft/4 overlaps to 1.5; both halves of the spectrum count
        for name, value in (("gain", 2 / 1.5 / math.sqrt(nfft)), ("one_half", 0.5), ("sine", -0.25), ("one", 1.0)):
            self.register_buffer(name, torch.tensor([value]))  # tensors, to be cast like the others

        # selections as products, since every runtime delegates those
        self.register_buffer("mirror_0", torch.eye(half - 1).flip(0)[None])
        self.register_buffer("mirror_1", torch.eye(p).flip(0)[None])
        self.register_buffer("copies", torch.ones(half - 1, 1, 1))
        self.register_buffer("ones", torch.ones(1, 1, frames))

    def _keep_turns(self, offsets: torch.Tensor) -> None:
        """Sample n = r + M quarter with r = m or, mirrored, r = M - m: what the quarter and the mirror do to a tap.

        (mirror, quarter, part of z, tap, part of W): what multiplies the cosine, and what the sine, of a tap at m.
        """
        quarter = torch.stack([torch.arange(4), torch.arange(1, 5)])[..., None]
        turn = math.pi / 2 * quarter * offsets
        cos, sin = turn.cos().round(), turn.sin().round()
        sign = torch.tensor([1.0, -1.0]).reshape(2, 1, 1)  # the mirror turns backwards, and conjugates z
        real = torch.stack([cos, -sign * sin]), torch.stack([sin, sign * cos])  # cosine and sine of the whole angle
        of_re = torch.stack([real[0], -real[1]], -1)
        of_im = torch.stack([-sign * real[1], -sign * real[0]], -1)
        turns = torch.stack([of_re, of_im], 3)  # (cos or sin, mirror, quarter, part of z, tap, part of W)
        self.register_buffer("turn_cos", turns[0].reshape(1, 2, 4, 2, -1, 2).float())
        self.register_buffer("turn_sin", turns[1].reshape(1, 2, 4, 2, -1, 2).float())

    def forward(self, rows: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        p, half, t, s = self.p, self.q // 2, self.frames, self.signals
        channels = rows.shape[1]
        rows = rows.reshape(channels, -1, t).permute(1, 0, 2)  # (K, C, frames)
        rows = F.pad(rows, (0, 3))
        # from the padded rows: these live on, and a runtime that makes the ends late would keep the others beside them
        coefficients = self._coefficients(rows[:1, :, :t], rows[-1:, :, :t], scale, offset)
        tiles = self._tiles(rows.reshape(1, half, -1), self.split * scale.reshape(1, 1, 1), channels)
        both = torch.cat(list(tiles)).reshape(half + 1, p, 2 * s * (t + 3))
        direct, mirrored = both[..., : s * (t + 3)], both[1:half, :, s * (t + 3) :]
        mirrored = torch.bmm(self.mirror_0, mirrored.reshape(1, half - 1, -1)).reshape(half - 1, p, -1)
        mirrored = torch.bmm(self.mirror_1 * self.copies, mirrored)
        x = torch.cat([direct, mirrored]).reshape(1, self.hop, s * (t + 3))  # r = m0 + Q m1 lies at (m0, m1)
        x = x + torch.bmm(self._basis(), coefficients)
        x = x.reshape(self.q, p, s, t + 3).permute(2, 1, 0, 3).reshape(s, self.hop, t + 3)
        return x.permute(0, 2, 1).reshape(s, 1, t + 3, self.hop)

    def _tiles(self, rows: torch.Tensor, split: torch.Tensor, channels: int) -> Iterator[torch.Tensor]:
        """Of rows (1, k1, values), some m0 at a time: (points, (as it is, mirrored) S (frames + 3)).

        All points at a time would be the largest tensor of the network. One tensor of each tile: of two, a runtime may
        make all of one kind first and keep what the others come from.
        """
        width, end = self.signals * (self.frames + 3), 0
        for second, taps in zip(self.second, self.taps, strict=True):
            matrices = self._second_stage(second)
            start, end = end, end + len(matrices)
            x = torch.bmm(split[:, 2 * start : 2 * end], rows).reshape(len(matrices), 2 * self.p, -1)
            part = torch.bmm(matrices, x)
            part = torch.bmm(self._mixing(taps), part.reshape(len(matrices) * self.p, 2 * channels, self.frames + 3))
            part = part.reshape(len(matrices) * self.p, 8 * width)
            yield torch.cat([_overlapped(part, 0, width), _overlapped(part, 4, width)], 1)

    def _second_stage(self, rotations: nn.Module) -> torch.Tensor:
        """(m0, (m1, re or im), (re or im, k0))"""
        cos, sin = rotations()
        parts = torch.stack([torch.stack([cos, -sin], 2), torch.stack([sin, cos], 2)], 2)
        return parts.reshape(cos.shape[0], 2 * self.p, 2 * self.p)

    def _mixing(self, rotations: nn.Module) -> torch.Tensor:
        """(points, (mirror, quarter, S), (re or im, C)): taps and window at each sample, from z at its point."""
        cos, sin = (x.reshape(-1, 1, 1, 1, x.shape[-1], 1) for x in rotations())
        taps = self.turn_cos * cos + self.turn_sin * sin  # (points, mirror, quarter, part of z, tap, part of W)
        # the Hann window: tap crop + 1 turns once in nfft samples
        window = self.gain * (self.one_half - self.one_half * taps[:, :, :, :1, self.crop + 1 : self.crop + 2, :1])
        w = self.weight.reshape(-1, self.signals, 1, self.weight.shape[-1])
        w = torch.cat([F.pad(w, (0, 0, 0, 1)), F.pad(w, (0, 0, 1, 0))])
        mixed = torch.bmm((taps * window).reshape(1, -1, w.shape[0]), w.reshape(1, w.shape[0], -1))
        return mixed.reshape(cos.shape[0], 8 * self.signals, -1)

    def _basis(self) -> torch.Tensor:
        """(1, hop, (quarter, waves)): windowed waves at the bins beyond the ends, and that of an offset of all im."""
        cos, sin = (x.reshape(self.hop, 1, -1) for x in self.ends())
        cos, sin = (
            cos * self.quarter_cos - sin * self.quarter_sin,
            sin * self.quarter_cos + cos * self.quarter_sin,
        )
        once_cos, once_sin, bins = cos[..., -1:], sin[..., -1:], len(self.beyond)
        window = self.share * (self.one_half - self.one_half * once_cos)
        waves = torch.stack([cos[..., :bins] * window, -sin[..., :bins] * window], 3).reshape(self.hop, 4, -1)
        # 1 in all bins, the first half: -cos(pi n) / 2 - i [n odd] cot(pi n / nfft); the window makes that a sine
        nyquist = cos[..., self.crop + 1 : self.crop + 2]
        waves = torch.cat([waves, self.sine * once_sin * (self.one - nyquist)], 2)
        return self.gain * waves.reshape(1, self.hop, -1)

    def _coefficients(
        self, first: torch.Tensor, last: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor
    ) -> torch.Tensor:
        """(1, (quarter, waves), S (frames + 3)): what the waves of `_basis` get, each quarter a frame later.

        first, last: of the rows.
        """
        s, t, crop = self.signals, self.frames, self.crop
        low, high = self.weight[: crop + 1], self.weight[-crop:]
        below, above = (
            torch.bmm(w.reshape(1, -1, w.shape[-1]), row).reshape(-1, s, t) * scale.reshape(1, 1, 1)
            for w, row in ((low, first), (high, last))
        )
        constant = (self.bias * scale.reshape(1, 1, 1) + offset.reshape(1, 1, 1)) * self.ones
        waves = torch.cat([below, above[:1] + self.one_half * constant[:1], above[1:], constant[1:]])
        return torch.cat([F.pad(waves, (i, 3 - i)) for i in range(4)]).reshape(1, -1, s * (t + 3))


def _overlapped(quarters: torch.Tensor, first: int, width: int) -> torch.Tensor:
    """The sum (points, width) of four quarters from `first` on, each a frame later than the one before.

    quarters: (points, any number of quarters x width), rows of frames of which the last three are silent. A cut that
    begins i values early is i frames late: it takes these from the silent end of the row before.
    """
    starts = [(first + i) * width - i for i in range(4)]
    a, b, c, d = (quarters[:, start : start + width] for start in starts)
    return (a + b) + (c + d)
