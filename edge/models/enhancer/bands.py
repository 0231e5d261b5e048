"""Layers that share their weights across frequency, on feature maps of one frame each.

A map is (N, F, C): N frames of the batch, F bands, C channels. Channels come last, as convolutions of few channels are
fastest; batch and time are one axis, since convolutions of few rows fall to a slow path on one thread.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.models.enhancer.recurrence import GatedRecurrence


class _BatchNorm(torch.autograd.Function):
    """(M, C) by its own statistics, each pass over memory once: torch's needs twice the time on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, mean, inverse)
        gain = weight * inverse
        return torch.addcmul(bias - mean * gain, x, gain)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        grad, count = grads[0], len(x)
        total = grad.sum(0)
        with_x = ((grad * x).sum(0) - mean * total) * inverse  # of the normalised x
        gain = weight * inverse
        by_x = -gain * inverse * with_x / count
        into_x = torch.addcmul(torch.addcmul(-gain * total / count - mean * by_x, x, by_x), grad, gain)
        return into_x, with_x, total, None, None


class ChannelNorm(nn.BatchNorm1d):
    """BatchNorm over the last axis of (..., C)."""

    def __init__(self, channels: int, gain: float = 1.0):
        super().__init__(channels, momentum=0.05)
        nn.init.constant_(self.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        if not self.training:
            flat = F.batch_norm(flat, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
            return flat.reshape(x.shape)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        with torch.no_grad():
            mean = flat.mean(0)
            variance = ((flat * flat).mean(0) - mean * mean).clamp_min(0)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (len(flat) / max(len(flat) - 1, 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        y = _BatchNorm.apply(flat, self.weight, self.bias, mean, torch.rsqrt(variance + self.eps))
        return y.reshape(x.shape)


class ConvNorm(nn.Module):
    """Convolution along frequency and its norm, which folds into it: (N, F, C) -> (N, F / stride, outputs).

    gain: of the norm at the start; below 1 for what is added to a residual path.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, gain: float = 1.0):
        super().__init__()
        reach = stride // 2 if stride > 1 else dilation * (kernel - 1) // 2
        self.conv = nn.Conv2d(
            inputs, outputs, (1, kernel), stride=(1, stride), padding=(0, reach), dilation=(1, dilation), bias=False
        )
        self.norm = ChannelNorm(outputs, gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(along_frequency(self.conv, x))


class LinearNorm(nn.Module):
    """Linear and its norm, which folds into it: (..., C) -> (..., outputs)."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = ChannelNorm(outputs, gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


def along_frequency(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution on a map (N, F, C), without a copy: to torch it is (N, C, 1, F), channels last in memory."""
    return conv(x.unsqueeze(1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).squeeze(1)


class BandMap(nn.Module):
    """Learned matrices over bands, one for each head of channels: (N, F, C) -> (N, F', C)."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)  # (heads, F', F)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.weight.shape[0]
        if heads == 1:
            return torch.matmul(self.weight[0], x)
        parts = x.unflatten(2, (heads, -1)).transpose(1, 2)  # (N, heads, F, C / heads)
        return torch.matmul(self.weight, parts).transpose(1, 2).flatten(2)

    @staticmethod
    def triangles(inputs: int, outputs: int) -> BandMap:
        """From many bands to few by triangular means, or back."""
        many, few = max(inputs, outputs), min(inputs, outputs)
        centre = (torch.arange(few) + 0.5) * many / few - 0.5
        weight = (1 - (torch.arange(many)[None] - centre[:, None]).abs() * few / many).clamp_min(0)
        weight = weight if outputs == few else weight.T
        return BandMap((weight / weight.sum(1, keepdim=True))[None].contiguous())

    @staticmethod
    def random(heads: int, bands: int) -> BandMap:
        return BandMap(torch.randn(heads, bands, bands) / math.sqrt(bands))


class BandBias(nn.Module):
    """A learned offset for each band and channel: (N, F, C) -> the same."""

    def __init__(self, bands: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(bands, channels) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class BandPool(nn.Module):
    """All bands and channels of a frame to one vector: (B, T, F, C) -> (B, T, outputs)."""

    def __init__(self, bands: int, channels: int, outputs: int):
        super().__init__()
        bound = 1 / math.sqrt(bands * channels)
        self.weight = nn.Parameter(torch.empty(outputs, bands, channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(2), self.weight.flatten(1))


class BandSpread(nn.Module):
    """One vector back to all bands and channels of a frame: (B, T, inputs) -> (B, T, F, C); zero at the start."""

    def __init__(self, inputs: int, bands: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(bands, channels, inputs))
        self.bias = nn.Parameter(torch.zeros(bands, channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight.flatten(0, 1), self.bias.flatten())
        return y.unflatten(2, self.bias.shape)


class BandRecurrence(nn.Module):
    """One GRU over time, shared by all bands, and a projection back onto the residual path.

    With `bidirectional` a second one runs backwards in time.
    """

    def __init__(self, channels: int, hidden: int, bidirectional: bool):
        super().__init__()
        self.gru = GatedRecurrence(channels, hidden)
        self.backward_gru = GatedRecurrence(channels, hidden) if bidirectional else None
        self.out = LinearNorm(2 * hidden if bidirectional else hidden, channels, gain=0.5)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, F, C), h (B, F, hidden) -> the same, next h."""
        batch, steps, bands, channels = x.shape
        sequence = x.transpose(0, 1).reshape(steps, batch * bands, channels)
        y, last = self.gru(sequence, h.flatten(0, 1))
        if self.backward_gru is not None:
            back, _ = self.backward_gru(sequence.flip(0), torch.zeros_like(h.flatten(0, 1)))
            y = torch.cat([y, back.flip(0)], dim=-1)
        y = y.unflatten(1, (batch, bands)).transpose(0, 1)
        return x + self.out(y), last.unflatten(0, (batch, bands))


class BandMix(nn.Module):
    """Every band hears the others of its frame, by matrices that do not depend on the input: (B, T, F, C) -> the same.

    Attention over bands with static weights: values, a matrix over bands for each head, a projection.
    """

    def __init__(self, bands: int, channels: int, heads: int):
        super().__init__()
        self.value = nn.Linear(channels, channels)
        self.mix = BandMap.random(heads, bands)
        self.out = LinearNorm(channels, channels, gain=0.5)

    def forward(self, x: Tensor) -> Tensor:
        value = F.relu(self.value(x)).flatten(0, 1)
        return x + self.out(self.mix(value).unflatten(0, x.shape[:2]))
