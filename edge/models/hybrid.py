"""Encoder and decoder layers of Hybrid Demucs (Défossez 2021, arXiv:2111.03600) with the released parameter names.

A layer works either along frequency, on (B, C, F, T), or along time, on (B, C, T).
"""

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F


class GLU(nn.Module):
    """Gated linear unit over channels, written as a split so that dependency tracers see both halves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = x.chunk(2, 1)
        return value * torch.sigmoid(gate)


class LayerScale(nn.Module):
    """Learned diagonal scale of a residual branch (Touvron et al. 2021); (B, C, T), or (B, T, C) if channel_last."""

    def __init__(self, channels: int, init: float, channel_last: bool = False):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), init))
        self.channel_last = channel_last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (self.scale if self.channel_last else self.scale[:, None])


class DConv(nn.Module):
    """Residual branches of dilated convolutions in a narrow space; (B, C, T) -> (B, C, T)."""

    def __init__(self, channels: int, depth: int, compress: float, init: float):
        super().__init__()
        hidden = int(channels / compress)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, hidden, 3, dilation=2**d, padding=2**d),
                nn.GroupNorm(1, hidden),
                nn.GELU(),
                nn.Conv1d(hidden, 2 * channels, 1),
                nn.GroupNorm(1, 2 * channels),
                GLU(),
                LayerScale(channels, init),
            )
            for d in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            if len(cast(nn.Sequential, layer)):  # pruning leaves an empty one in place of a removed branch
                x = x + layer(x)
        return x


class HybridLayer(nn.Module):
    """What encoder and decoder share: the residual branch, applied to each frequency row on its own."""

    dconv: DConv | None
    freq: bool

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        if self.dconv is None:
            return x
        if not self.freq:
            return self.dconv(x)
        b, c, f, t = x.shape
        y = self.dconv(x.permute(0, 2, 1, 3).reshape(b * f, c, t))
        return y.reshape(b, f, c, t).permute(0, 2, 1, 3)


class EncoderLayer(HybridLayer):
    """Strided convolution, residual branch, gated rewrite. Divides F (or T, rounded up) by `stride`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, freq: bool, context: int, dconv: dict | None
    ):
        super().__init__()
        self.freq, self.stride = freq, stride
        if freq:
            self.conv: nn.Module = nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1), (kernel // 4, 0))
            self.rewrite: nn.Module = nn.Conv2d(outputs, 2 * outputs, 1 + 2 * context, 1, context)
        else:
            self.conv = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 4)
            self.rewrite = nn.Conv1d(outputs, 2 * outputs, 1 + 2 * context, 1, context)
        self.glu = GLU()
        self.dconv = DConv(outputs, **dconv) if dconv else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.freq and x.shape[-1] % self.stride:
            x = F.pad(x, (0, self.stride - x.shape[-1] % self.stride))
        return self.glu(self.rewrite(self.residual(F.gelu(self.conv(x)))))


class DecoderLayer(HybridLayer):
    """Skip connection, gated rewrite, residual branch, transposed convolution; the mirror of EncoderLayer."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        freq: bool,
        context: int,
        dconv: dict | None,
        last: bool,
    ):
        super().__init__()
        self.freq, self.last = freq, last
        pad = kernel // 4  # the released network crops by slicing; the padding argument is the same crop
        if freq:
            self.rewrite: nn.Module = nn.Conv2d(inputs, 2 * inputs, 1 + 2 * context, 1, context)
            self.conv_tr: nn.Module = nn.ConvTranspose2d(inputs, outputs, (kernel, 1), (stride, 1), (pad, 0))
        else:
            self.rewrite = nn.Conv1d(inputs, 2 * inputs, 1 + 2 * context, 1, context)
            self.conv_tr = nn.ConvTranspose1d(inputs, outputs, kernel, stride, pad)
        self.glu = GLU()
        self.dconv = DConv(inputs, **dconv) if dconv else None

    def forward(self, x: torch.Tensor, skip: torch.Tensor, length: int | None = None) -> torch.Tensor:
        """length: samples to keep (time branch), undoing the encoder's rounding up."""
        x = self.conv_tr(self.residual(self.glu(self.rewrite(x + skip))))
        if length is not None:
            x = x[..., :length]
        return x if self.last else F.gelu(x)
