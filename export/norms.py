"""Means and norms of lowered modules, in forms that delegate (see delegable.py).

fp16 ends at 65504 and has 11 bits: what is squared there is brought near one before. XNNPACK adds up means over the
last two axes in fp32, but average pooling in fp16. Its rsqrt squares an estimate on ARM64 and gives NaN below 2^-16,
where eps alone lies: variances are taken as sixteenfold there (`lift`).
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from edge.compression.int8 import UNTRAINED


@dataclass(frozen=True)
class Form:
    """What lowered modules are laid out for. delegated: for XNNPACK, in what it takes over (see delegable.py), in place
    of a graph of the fewest nodes; half: cast to fp16 afterwards, and computed in it."""

    delegated: bool
    half: bool = False


# By the name that a backend's record has; a new one is a line here.
FORMS = {"onnx": Form(False), "executorch": Form(True), "executorch-fp16": Form(True, half=True)}


def pointwise(weight: torch.Tensor, bias: torch.Tensor | None = None, keep_float: str = "") -> nn.Conv2d:
    """1x1 convolution from a matrix (outputs, inputs)."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    conv.weight = nn.Parameter(weight.float()[:, :, None, None].contiguous())
    conv.bias = nn.Parameter(torch.zeros(weight.shape[0]) if bias is None else bias.float().clone())
    if keep_float:
        conv.keep_float = keep_float  # type: ignore[assignment]
    return conv


def lift(target: str) -> float:
    """What variances are multiplied by before the rsqrt, whose result is then smaller by the root of it."""
    return 16.0 if FORMS[target].half else 1.0


def time_mean(x: torch.Tensor, target: str) -> torch.Tensor:
    """Mean over the last axis of (1, C, F, T), kept. XNNPACK takes average pooling, not a mean over one axis."""
    if not FORMS[target].delegated:
        return x.mean(3, keepdim=True)
    if x.shape[2] == 1:
        return x.mean((2, 3), keepdim=True)
    return F.avg_pool2d(x, (1, x.shape[3]), (1, x.shape[3]), count_include_pad=False)


def full_mean(x: torch.Tensor, target: str) -> torch.Tensor:
    """Mean of a 4-D tensor (1, C, H, W) as (1, 1, 1, 1), axis by axis, which keeps fp32 accuracy on millions."""
    if FORMS[target].half:  # adds in fp32
        return x.mean((2, 3), keepdim=True).reshape(1, 1, 1, x.shape[1]).mean((2, 3), keepdim=True)
    rows = time_mean(x, target).mean((2, 3), keepdim=True)
    return rows.reshape(1, 1, 1, x.shape[1]).mean((2, 3), keepdim=True)


class Standardize(nn.Module):
    """x (1, C, H, W) -> (x - mean) / (1e-5 + std), mean and std (1, 1, 1, 1) over all its values.

    row: a waveform (1, C, 1, L) is averaged over rows of so many samples first. In fp16 x is first divided by 64 times
    its mean magnitude, and what lies further out than 255 of those counts as 255 in the std.
    """

    def __init__(self, target: str, row: int | None = None):
        super().__init__()
        self.target, self.row = target, row
        self.register_buffer("least", torch.tensor([1e-5]))
        if FORMS[target].half:
            self.register_buffer("crest", torch.tensor([64.0]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if FORMS[self.target].half:
            size = self.crest * (self._mean(x.abs()) + self.least)
            scaled = x / size
            mean = self._mean(scaled)
            near = torch.clamp(scaled - mean, -255.0, 255.0)
            std = torch.sqrt(self._mean(near * near))
            # from x on once more: XNNPACK writes in place only over what one step alone reads
            return (x / size - mean) / (self.least / size + std), mean * size, std * size
        mean = self._mean(x)
        x = x - mean
        count = x.numel()
        std = torch.sqrt(self._mean(x * x) * (count / (count - 1)))
        return x / (self.least + std), mean, std

    def _mean(self, x: torch.Tensor) -> torch.Tensor:
        if self.row is None or FORMS[self.target].half:
            return full_mean(x, self.target)
        length = x.shape[-1]
        padded = -(-length // self.row) * self.row
        rows = F.pad(x, (0, padded - length)).reshape(1, x.shape[1], -1, self.row)
        return full_mean(rows, self.target) * (padded / length)


class RowNorm(nn.Module):
    """GroupNorm(1) of each row (1, C, f, T) of (1, C, F, T), without its affine: (x - mean) / sqrt(variance + eps).

    In fp16 each row is first divided by sixteen times its mean magnitude, or its squares would overflow; and the input
    is taken as a sixteenth, so that the sum of its magnitudes stays finite.
    """

    SCALE = 1 / 16

    def __init__(self, channels: int, eps: float, target: str):
        super().__init__()
        self.target, self.scale = target, self.SCALE if FORMS[target].half else 1.0
        self.average = pointwise(torch.full((1, channels), 1.0 / channels), keep_float=UNTRAINED)
        if FORMS[target].half:
            root = torch.tensor([eps**0.5 * self.scale])
            self.size = pointwise(torch.full((1, channels), 16.0 / channels), root, UNTRAINED)
            self.root = pointwise(root[None], keep_float=UNTRAINED)
        else:
            self.variance = pointwise(torch.full((1, channels), 1.0 / channels), torch.tensor([eps]), UNTRAINED)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x times `scale` -> the normed x in two factors, the second (1, 1, F, 1)."""
        x = x - self.average(time_mean(x, self.target))
        if FORMS[self.target].half:
            inverse = torch.rsqrt(self.size(time_mean(x.abs(), self.target)))
            inverse = inverse * inverse  # XNNPACK has no reciprocal
            root = self.root(inverse)
            x = x * inverse
            return x, torch.rsqrt(self.average(time_mean(x * x, self.target)) + root * root)
        return x, torch.rsqrt(self.variance(time_mean(x * x, self.target)))


def averaging(width: int, factor: float = 1.0) -> nn.Linear:
    """Mean over the last axis, times a factor, as a Linear, the form that delegates."""
    layer = nn.Linear(width, 1, bias=False)
    layer.weight = nn.Parameter(torch.full((1, width), factor / width))
    layer.keep_float = UNTRAINED  # type: ignore[assignment]
    return layer


class _TokenwiseNorm(nn.Module):
    """What the norms of tokens (1, T, C) share: the affine, and means over channels for ExecuTorch."""

    def __init__(self, norm: nn.LayerNorm | nn.GroupNorm, target: str):
        super().__init__()
        factor = lift(target)
        self.weight = nn.Parameter(norm.weight.detach() * factor**0.5)
        self.bias = nn.Parameter(norm.bias.detach().clone())
        self.eps, self.native = norm.eps, not FORMS[target].delegated
        if not self.native:
            width = norm.weight.shape[0]
            self.average, self.variance = averaging(width), averaging(width, factor)
            self.register_buffer("least", torch.tensor([factor * norm.eps]))


class LayerNorm(_TokenwiseNorm):
    """LayerNorm over the last axis: native for ONNX, as Linear means for ExecuTorch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.native:
            return F.layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.eps)
        centred = x - self.average(x)
        return centred * torch.rsqrt(self.variance(centred * centred) + self.least) * self.weight + self.bias


class TokenNorm(_TokenwiseNorm):
    """GroupNorm(1) over all tokens and channels of (1, T, C); channel means first, then tokens."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.native:
            centred = x - self._native_mean(x)
            variance = self._native_mean(centred * centred) + self.eps
        else:
            centred = x - self._mean(self.average(x))
            variance = self._mean(self.variance(centred * centred)) + self.least
        return centred * (torch.rsqrt(variance) * self.weight) + self.bias

    @staticmethod
    def _native_mean(x: torch.Tensor) -> torch.Tensor:
        return x.mean(2, keepdim=True).mean(1, keepdim=True)

    @staticmethod
    def _mean(per_token: torch.Tensor) -> torch.Tensor:
        return per_token.reshape(1, 1, 1, -1).mean((2, 3), keepdim=True).reshape(1, 1, 1)
