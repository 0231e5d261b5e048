"""Building blocks in the one form that mobile runtimes run whole: 4-D convolutions, Linears, element-wise ops.

A layer that XNNPACK does not take splits the graph and costs a copy and a slow fallback each time, so every block
here is an exact rewrite (up to rounding) of a training-time layer into ops that delegate: Conv1d as Conv2d of height
one, GLU as two convolutions and a sigmoid, norms as means and multiplies, scales folded into weights. ONNX Runtime
runs the same form; where it has a fused kernel (`native` below), that op is kept.

The targets are the forms of norms.py; XNNPACK has no GELU in fp16.

A layer with an attribute `keep_float` (the reason, a string) is never quantized.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from edge.compression.int8 import UNTRAINED
from edge.export.norms import FORMS, RowNorm, lift, pointwise, time_mean
from edge.export.tiles import RowTiles, Upsampled, bounds
from edge.models import hybrid

FOLDED = "a norm is folded in, with columns for its statistics"
LARGE, PARTS = 3 << 20, 4  # an output of more values than that is made in so many parts of time


def as_conv2d(conv: nn.Conv1d | nn.Conv2d, rows: slice = slice(None)) -> nn.Conv2d:
    """The convolution as Conv2d (height one for Conv1d), cut to some output channels."""
    weight, bias = conv.weight.detach()[rows], conv.bias.detach()[rows]
    one_d = isinstance(conv, nn.Conv1d)
    lift = (lambda pair: (1, *pair)) if one_d else (lambda pair: tuple(pair))
    out = nn.Conv2d(
        conv.in_channels,
        weight.shape[0],
        lift(conv.kernel_size),
        lift(conv.stride),
        (0, *conv.padding) if one_d else conv.padding,
        lift(conv.dilation),
    )
    out.weight = nn.Parameter(weight.unsqueeze(2).clone() if one_d else weight.clone())
    out.bias = nn.Parameter(bias.clone())
    return out


def as_conv_transpose2d(conv: nn.ConvTranspose1d | nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    one_d = isinstance(conv, nn.ConvTranspose1d)
    lift = (lambda pair, fill: (fill, *pair)) if one_d else (lambda pair, fill: tuple(pair))
    out = nn.ConvTranspose2d(
        conv.in_channels, conv.out_channels, lift(conv.kernel_size, 1), lift(conv.stride, 1), lift(conv.padding, 0)
    )
    weight = conv.weight.detach()
    out.weight = nn.Parameter(weight.unsqueeze(2).clone() if one_d else weight.clone())
    out.bias = nn.Parameter(conv.bias.detach().clone())
    return out


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x) (Hendrycks & Gimpel 2016): at most 0.021 off GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.tensor([1.702]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # where a constant itself meets a 4-D tensor, ExecuTorch transposes the whole tensor to NCHW, and back for the
        # next convolution; what a step of the graph makes, it lays out like the tensor
        alpha = self.alpha.reshape(1, 1, 1, 1) if x.dim() == 4 else self.alpha
        return x * torch.sigmoid(alpha * x)


def gelu(target: str) -> nn.Module:
    return QuickGELU() if FORMS[target].half else nn.GELU()


class GatedConv(nn.Module):
    """Convolution + GLU as two convolutions: no split copy, and the sigmoid fuses."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d):
        super().__init__()
        half = conv.out_channels // 2
        self.value, self.gate = as_conv2d(conv, slice(0, half)), as_conv2d(conv, slice(half, None))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value(x) * torch.sigmoid(self.gate(x))


def _wider(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with two more inputs, which it does not read."""
    return F.pad(matrix, (0, 2))


class ResidualBranch(nn.Module):
    """One DConv layer on (1, C, F, T), exact, without a pass over its widest tensor for the norm.

    The GroupNorm of the wide y = W h + b needs mean and variance of y only, and these follow from the narrow h: the
    mean over channels is linear in h, and the mean square |W h + b|^2 / C2 a quadratic form of it, |A h + a|^2 + rest
    with A of hidden^2. Norm, affine and LayerScale then fold into the convolutions that make y. What they add for a
    row, 1/std and mean/std times a column, comes from two more channels of h, constant until the norm multiplies them.
    """

    CONSTANT = 8.0  # of the two channels: GELU leaves it as it is

    def __init__(self, layer: nn.Sequential, target: str):
        super().__init__()
        narrow, norm1, _, wide, norm2, _, scale = layer
        assert isinstance(norm1, nn.GroupNorm) and isinstance(norm2, nn.GroupNorm)
        assert isinstance(scale, hybrid.LayerScale)
        self.target = target
        self.narrow = as_conv2d(narrow)
        hidden, outputs = self.narrow.out_channels, wide.out_channels
        half = outputs // 2
        self.norm1 = RowNorm(hidden, norm1.eps, target)
        for parameter in self.narrow.parameters():  # of its own
            parameter.data *= self.norm1.scale
        self.affine = pointwise(
            F.pad(torch.diag(norm1.weight.detach()), (0, 0, 0, 2)),
            F.pad(norm1.bias.detach(), (0, 2), value=self.CONSTANT),
            FOLDED,
        )
        self.gelu = gelu(target)
        factor, root_factor = lift(target), lift(target) ** 0.5

        weight, bias = wide.weight.detach().reshape(outputs, hidden).double(), wide.bias.detach().double()
        bias = bias - bias.mean()  # the norm takes it away; here it would only cost digits of the variance
        values, vectors = torch.linalg.eigh(weight.T @ weight / outputs)
        held = values > 1e-12 * values[-1]
        root = torch.where(held, values, 0).sqrt()[:, None] * vectors.T
        shift = torch.where(held, values, 1).rsqrt() * (vectors.T @ (weight.T @ bias / outputs)) * held
        rest = bias.square().mean() - shift.square().sum()
        self.power = pointwise(_wider(root) * root_factor, shift * root_factor, UNTRAINED)
        self.eps = factor * norm2.eps
        self.total = pointwise(torch.ones(1, hidden), factor * rest[None] + self.eps, UNTRAINED)
        self.mean = pointwise(_wider(weight.mean(0)[None]) * root_factor, keep_float=UNTRAINED)
        last = (torch.arange(hidden + 2) == hidden + 1).float()
        self.spread = pointwise(last[:, None], 1 - last, UNTRAINED)  # the last of the two channels gets the mean

        gain, offset = norm2.weight.detach().double(), norm2.bias.detach().double()
        fold = torch.cat([scale.scale.detach().double(), torch.ones(half, dtype=torch.float64)])  # LayerScale: value
        on_stats = torch.stack([gain * bias * root_factor, -gain], 1) / self.CONSTANT  # columns: 1/std, mean/std
        on_hidden = torch.cat([gain[:, None] * weight * root_factor, on_stats], 1) * fold[:, None]
        offset = offset * fold
        self.value = pointwise(on_hidden[:half], offset[:half], FOLDED)
        self.gate = pointwise(on_hidden[half:], offset[half:], FOLDED)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, inverse = self.norm1(self.narrow(x))
        h = self.gelu(self.affine(h * inverse))
        power = self.power(h)
        mean = self.mean(time_mean(h, self.target))
        variance = self.total(time_mean(power * power, self.target)) - mean * mean
        variance = torch.clamp(variance, min=self.eps)  # it holds eps, but as a difference is rounded
        h = h * (self.spread(mean) * torch.rsqrt(variance))
        if x.numel() <= LARGE:
            return self._gated(h, x)
        count = min(PARTS, x.shape[-1])
        parts = zip(h.tensor_split(count, -1), x.tensor_split(count, -1), strict=True)
        return torch.cat([self._gated(*part) for part in parts], -1)

    def _gated(self, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.value(h) * torch.sigmoid(self.gate(h)) + x  # XNNPACK adds in place where the first one ends here


def residual_branches(dconv: hybrid.DConv | None, target: str) -> nn.Sequential:
    return nn.Sequential(*(ResidualBranch(layer, target) for layer in (dconv.layers if dconv else ()) if len(layer)))


class Encoder(nn.Module):
    """EncoderLayer on (1, C, F, T), the time branch with F = 1; with `tiles` in so many tiles of rows."""

    def __init__(self, layer: hybrid.EncoderLayer, target: str, tiles: int = 1):
        super().__init__()
        conv = as_conv2d(layer.conv)
        self.conv = Downsampling(conv) if FORMS[target].delegated and Downsampling.fits(conv) else conv
        self.rewrite = GatedConv(layer.rewrite)
        self.tiles = RowTiles([self.conv], tiles)
        self.dconv = residual_branches(layer.dconv, target)
        self.stride = 1 if layer.freq else layer.stride
        self.gelu = gelu(target)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] % self.stride:
            x = F.pad(x, (0, self.stride - x.shape[-1] % self.stride))
        return self.tiles(self._level, x)

    def _level(self, x: torch.Tensor) -> torch.Tensor:
        return self.rewrite(self.dconv(self.gelu(self.conv(x))))


class Downsampling(nn.Module):
    """Convolution of few channels over time, of stride s and 2s taps, as one of two taps over s moments as channels.

    XNNPACK keeps an address for each tap of each output: these are a quarter. With more channels, or over rows, moving
    the values costs more than it saves.
    """

    FEW = 8  # channels

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.kernel_size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        s = self.stride[1]
        outputs, channels = conv.weight.shape[:2]
        self.conv = nn.Conv2d(s * channels, outputs, (1, 2))
        weight = conv.weight.detach().reshape(outputs, channels, 2, s).permute(0, 3, 1, 2)
        self.conv.weight = nn.Parameter(weight.reshape(outputs, s * channels, 1, 2))
        self.conv.bias = nn.Parameter(conv.bias.detach().clone())

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        s = conv.stride[1]
        return s > 1 and conv.kernel_size == (1, 2 * s) and conv.in_channels <= Downsampling.FEW

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, s = F.pad(x, (self.padding[1], self.padding[1])), self.stride[1]
        _, channels, rows, length = x.shape
        x = x.permute(0, 2, 3, 1).reshape(1, rows, length // s, s * channels)  # as channels-last memory is
        return self.conv(x.permute(0, 3, 1, 2))


class Upsampling(nn.Module):
    """Transposed convolution over time of stride s, 2s taps and padding s/2 as a convolution with s outputs for each of
    its own.

    Output s l + r reaches x at l - 1, l and l + 1, one of the outer two with a weight of zero. XNNPACK's own one takes
    up to three times the instructions; over frequency it costs less than the transposes that rows would need here.
    """

    def __init__(self, conv: nn.ConvTranspose1d):
        super().__init__()
        self.stride, self.outputs = conv.stride[0], conv.out_channels
        weight = conv.weight.detach().permute(2, 1, 0)
        taps = torch.zeros(self.stride, self.outputs, conv.in_channels, 3)
        for r in range(self.stride):
            for offset in (-1, 0, 1):
                if 0 <= (tap := r + self.stride // 2 - offset * self.stride) < len(weight):
                    taps[r, ..., offset + 1] = weight[tap]
        self.conv = nn.Conv2d(conv.in_channels, self.stride * self.outputs, (1, 3), padding=(0, 1))
        self.conv.weight = nn.Parameter(taps.reshape(-1, conv.in_channels, 1, 3))
        self.conv.bias = nn.Parameter(conv.bias.detach().repeat(self.stride))

    @staticmethod
    def fits(conv: nn.ConvTranspose1d | nn.ConvTranspose2d) -> bool:
        stride = conv.stride[0]
        of_time = isinstance(conv, nn.ConvTranspose1d) and stride % 2 == 0
        return of_time and conv.kernel_size[0] == 2 * stride and conv.padding[0] == stride // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        y = y.permute(0, 2, 3, 1).reshape(1, 1, self.stride * y.shape[-1], self.outputs)  # as channels-last memory is
        return y.permute(0, 3, 1, 2)


class PartedUpsampling(nn.Module):
    """Transposed convolution over time, where its output is large in parts of it: ONNX Runtime holds each tap of each
    input beside it."""

    def __init__(self, conv: nn.ConvTranspose1d):
        super().__init__()
        self.conv = as_conv_transpose2d(conv)
        self.crop = int(self.conv.padding[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = Upsampled(self.conv, x, self.crop, axis=3)
        whole = self.conv.out_channels * made.size <= LARGE
        self.conv.padding = (0, self.crop if whole else 0)  # type: ignore[assignment]
        return self.conv(x) if whole else torch.cat([made.cut(*part) for part in bounds(made.size, PARTS)], 3)


class Decoder(nn.Module):
    """DecoderLayer on (1, C, F, T), from the GELU of the layer before on; with `tiles` in so many tiles of rows, up to
    its last convolution, and from the last one of the layer before on, where `take_upsampling` took it."""

    conv_tr: nn.Module

    def __init__(self, layer: hybrid.DecoderLayer, target: str, tiles: int = 1, first: bool = False):
        super().__init__()
        self.upsampling: nn.ConvTranspose2d | None = None
        self.gelu = nn.Identity() if first else gelu(target)
        self.rewrite = GatedConv(layer.rewrite)
        self.tiles = RowTiles([self.rewrite.value, self.rewrite.gate], tiles)
        if isinstance(layer.conv_tr, nn.ConvTranspose2d):
            self.conv_tr = as_conv_transpose2d(layer.conv_tr)
        elif FORMS[target].delegated and Upsampling.fits(layer.conv_tr):
            self.conv_tr = Upsampling(layer.conv_tr)
        else:
            self.conv_tr = PartedUpsampling(layer.conv_tr)
        self.dconv = residual_branches(layer.dconv, target)

    def take_upsampling(self, before: Decoder) -> None:
        """Run the last convolution of the layer before in this one's tiles."""
        assert isinstance(before.conv_tr, nn.ConvTranspose2d)
        self.upsampling, before.conv_tr = before.conv_tr, nn.Identity()
        self.crop = int(self.upsampling.padding[0])
        self.upsampling.padding = (0, self.upsampling.padding[1])  # type: ignore[assignment]

    def forward(self, x: torch.Tensor, skip: torch.Tensor, length: int | None = None) -> torch.Tensor:
        before = x if self.upsampling is None else Upsampled(self.upsampling, x, self.crop)
        x = self.conv_tr(self.tiles(self._level, skip, before))
        if length is not None and x.shape[-1] != length:
            x = x[..., :length]
        return x

    def _level(self, skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.dconv(self.rewrite(self.gelu(x) + skip))
