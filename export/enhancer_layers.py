"""The parts of a lowered enhancer, in two layouts: maps (1, channels, bands) with 1-D convolutions for ONNX Runtime,
and rows (bands, channels) with Linears for XNNPACK (see lower_enhancer.py)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.models.enhancer import Enhancer
from edge.models.enhancer.bands import BandMap, BandMix, BandRecurrence, ChannelNorm, ConvNorm, LinearNorm
from edge.models.enhancer.recurrence import TimeAttentionTransformer
from edge.models.enhancer.time_stage import SLOPE, BlockConv, TimeStage


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A Linear with copies of these, float32: weight (out, in), bias (out,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().float().contiguous().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().float().clone(), requires_grad=False)
    return layer


def folded(weight: Tensor, norm: ChannelNorm) -> tuple[Tensor, Tensor]:
    """Weight (outputs, ...) and bias of a layer with the norm that follows it."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return weight.double() * gain.reshape(-1, *[1] * (weight.dim() - 1)), norm.bias - norm.running_mean * gain


def row_mean(x: Tensor) -> Tensor:
    """Mean of (1, C) as (1, 1), in the only form that XNNPACK takes: over the last two of four dimensions."""
    return x.reshape(1, 1, 1, -1).mean((2, 3), keepdim=True).reshape(1, 1)


def _rows(x: Tensor) -> Tensor:
    """A state or map (1, C, F) as rows (F, C)."""
    return x.reshape(x.shape[1:]).permute(1, 0)


def as_map(x: Tensor) -> Tensor:
    """Rows (F, C) as a map (1, C, F)."""
    return x.permute(1, 0).reshape(1, x.shape[1], x.shape[0])


class _Taps(nn.Module):
    """Convolution along rows (L, C), zero-padded by `reach`, as a Linear over the taps of each output row.

    A stride must divide the kernel: rows then hold a stride of inputs each.
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int = 1, dilation: int = 1, reach: int = 0):
        super().__init__()
        outputs, _, kernel = weight.shape
        self.stride, self.dilation, self.reach, self.count = stride, dilation, reach, kernel // stride
        # (out, C, K) -> (out, K, C): rows hold inputs in order, channels innermost
        self.linear = linear(weight.transpose(1, 2).reshape(outputs, -1), bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.reach:
            x = F.pad(x, (0, 0, self.reach, self.reach))
        x = x.reshape(x.shape[0] // self.stride, -1)
        rows = x.shape[0] - (self.count - 1) * self.dilation
        return self.linear(torch.cat([x[i * self.dilation : i * self.dilation + rows] for i in range(self.count)], 1))


def along(weight: Tensor, bias: Tensor, rows: bool, stride: int = 1, dilation: int = 1, reach: int = 0) -> nn.Module:
    """Convolution along frequency or time, weight (out, in, kernel), in one of the two layouts."""
    if rows:
        return _Taps(weight, bias, stride, dilation, reach)
    outputs, inputs, kernel = weight.shape
    conv = nn.Conv1d(inputs, outputs, kernel, stride, reach, dilation)
    conv.weight = nn.Parameter(weight.detach().float().clone(), requires_grad=False)
    conv.bias = nn.Parameter(bias.detach().float().clone(), requires_grad=False)
    conv.compute_float = "a narrow convolution: int8 would cost more than it saves"  # type: ignore[assignment]
    return conv


def pointwise(weight: Tensor, bias: Tensor, rows: bool) -> nn.Module:
    """Linear over channels, weight (out, in), in one of the two layouts."""
    return linear(weight, bias) if rows else along(weight[..., None], bias, rows)


def conv_norm(layer: ConvNorm, rows: bool) -> nn.Module:
    """A convolution along frequency with its norm folded in."""
    conv = layer.conv
    weight, bias = folded(conv.weight[:, :, 0], layer.norm)
    return along(weight, bias, rows, conv.stride[1], conv.dilation[1], conv.padding[1])


def linear_norm(layer: LinearNorm, rows: bool) -> nn.Module:
    """A layer over channels with its norm folded in."""
    return pointwise(*folded(layer.linear.weight, layer.norm), rows)


class Bands(nn.Module):
    """BandMap: products with learned matrices over bands."""

    def __init__(self, layer: BandMap, rows: bool):
        super().__init__()
        self.rows, self.heads = rows, layer.weight.shape[0]
        weight = layer.weight.detach()
        if rows and self.heads == 1:
            self.linear = linear(weight[0], None)
        else:
            self.register_buffer("weight", weight.transpose(1, 2).contiguous().clone())  # (heads, F, F')

    def forward(self, x: Tensor) -> Tensor:
        if self.rows and self.heads == 1:
            return self.linear(x.permute(1, 0)).permute(1, 0)
        if self.heads == 1:
            return torch.matmul(x, self.weight[0])
        channels = x.permute(1, 0) if self.rows else x
        parts = channels.reshape(self.heads, -1, self.weight.shape[1])
        mixed = torch.bmm(parts, self.weight)
        if self.rows:
            return mixed.reshape(-1, self.weight.shape[2]).permute(1, 0)
        return mixed.reshape(1, -1, self.weight.shape[2])


class Recurrence(nn.Module):
    """One step of BandRecurrence: a GRU with the gates of each side in one layer, on all bands."""

    def __init__(self, layer: BandRecurrence, rows: bool):
        super().__init__()
        cell = layer.gru
        self.rows, self.width = rows, cell.width
        sides = []
        for side in ((cell.input_reset, cell.input_update, cell.input_new), (
            cell.hidden_reset, cell.hidden_update, cell.hidden_new)):  # fmt: skip
            sides.append(pointwise(torch.cat([m.weight for m in side]), torch.cat([m.bias for m in side]), rows))
        self.input, self.hidden = sides
        self.out = linear_norm(layer.out, rows)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        n = self.width
        h = _rows(h) if self.rows else h
        i, r = self.input(x), self.hidden(h)
        gates = torch.sigmoid(i[:, : 2 * n] + r[:, : 2 * n])
        new = torch.tanh(i[:, 2 * n :] + gates[:, :n] * r[:, 2 * n :])
        h = new + gates[:, n:] * (h - new)
        return x + self.out(h), as_map(h) if self.rows else h


class Mix(nn.Module):
    """BandMix: a pointwise layer, products over bands, and its norm."""

    def __init__(self, layer: BandMix, rows: bool):
        super().__init__()
        self.value = pointwise(layer.value.weight, layer.value.bias, rows)
        self.mix = Bands(layer.mix, rows)
        self.out = linear_norm(layer.out, rows)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.mix(F.relu(self.value(x))))


class Transformer(nn.Module):
    """Time-attention layer for one frame (1, C). State: keys and values (heads, window - 1, head width)."""

    lag_bias: Tensor

    def __init__(self, layer: TimeAttentionTransformer):
        super().__init__()
        attention = layer.attention
        self.heads = attention.heads
        parts = [(attention.q, attention.scale), (attention.k, 1.0), (attention.v, 1.0)]
        self.qkv = linear(torch.cat([m.weight * s for m, s in parts]), torch.cat([m.bias * s for m, s in parts]))
        self.out = linear(attention.out.weight, attention.out.bias)
        self.linear1 = linear(layer.linear1.weight, layer.linear1.bias)
        self.linear2 = linear(layer.linear2.weight, layer.linear2.bias)
        self.register_buffer("lag_bias", attention.lag_bias.detach().flip(1)[:, None].clone())
        self.state_shape = attention.state_shape()

    def forward(self, x: Tensor, past_k: Tensor, past_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv = self.qkv(x)
        width = qkv.shape[1] // 3
        q = qkv[:, :width].reshape(self.heads, -1, 1)
        k = torch.cat([past_k, qkv[:, width : 2 * width].reshape(self.heads, 1, -1)], 1)
        v = torch.cat([past_v, qkv[:, 2 * width :].reshape(self.heads, 1, -1)], 1)
        # keys on the left: no transposed copy of the cache
        logits = torch.bmm(k, q).reshape(self.heads, 1, -1) + self.lag_bias
        y = torch.bmm(torch.softmax(logits, dim=-1), v).reshape(1, width)
        x = x + self.out(y)
        return x + self.linear2(F.relu(self.linear1(x))), k[:, 1:], v[:, 1:]


class _Block(nn.Module):
    """BlockConv and its leaky ReLU on a map (1, C, N) or rows; state (1, C, kernel - stride)."""

    def __init__(self, layer: BlockConv, rows: bool):
        super().__init__()
        self.rows = rows
        self.conv = along(layer.conv.weight, layer.conv.bias, rows, layer.conv.stride[0])
        self.state_shape = (1, *layer.state_shape())

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        if self.rows:
            joined = torch.cat([_rows(past), x], 0)
            return F.leaky_relu(self.conv(joined), SLOPE), as_map(joined[x.shape[0] :])
        joined = torch.cat([past, x], 2)
        return F.leaky_relu(self.conv(joined), SLOPE), joined[..., x.shape[2] :]


class _SubPixel(nn.Module):
    """ConvTranspose1d with kernel = stride: a pointwise layer whose outputs are then laid side by side in time."""

    def __init__(self, conv: nn.ConvTranspose1d, rows: bool):
        super().__init__()
        self.rows, self.stride, self.outputs = rows, conv.stride[0], conv.out_channels
        weight = conv.weight.detach().permute(2, 1, 0).reshape(-1, conv.in_channels)  # (stride * out, in)
        bias = torch.zeros(self.outputs) if conv.bias is None else conv.bias.detach()
        self.layer = pointwise(weight, bias.repeat(self.stride), rows)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        if self.rows:
            return y.reshape(-1, self.outputs)
        y = y.reshape(1, self.stride, self.outputs, -1).permute(0, 2, 3, 1)
        return y.reshape(1, self.outputs, -1)


class TimeLayers(nn.Module):
    """TimeStage, one hop at a time; a state for each of its convolutions."""

    def __init__(self, stage: TimeStage, rows: bool):
        super().__init__()
        self.rows = rows
        self.blocks = nn.ModuleDict({name: _Block(layer, rows) for name, layer in stage.convs().items()})
        films = [stage.film_scale, stage.film_shift]
        self.film = linear(torch.cat([f.weight for f in films]), torch.cat([f.bias for f in films]))
        self.width = stage.film_scale.out_features
        self.up2 = _SubPixel(stage.up2, rows)
        weight = stage.up1.weight.detach()[:, 0].t()  # one channel: its samples need no new order
        self.up1 = pointwise(weight, torch.zeros(len(weight)), rows)

    def forward(self, both: Tensor, latent: Tensor, *past: Tensor) -> tuple[Tensor, list[Tensor]]:
        """both (2, hop), the enhanced and the given signal, latent (1, L) -> (1, hop), next states."""
        states: list[Tensor] = []

        def block(name: str, x: Tensor) -> Tensor:
            y, state = self.blocks[name](x, past[len(states)])
            states.append(state)
            return y

        film = self.film(latent)
        x = both.permute(1, 0) if self.rows else both[None]
        film = film if self.rows else film[..., None]
        scale, shift = film[:, : self.width], film[:, self.width :]
        skip = block("conv1", x)
        y = block("mid", block("conv2", skip) * scale + shift)
        y = F.leaky_relu(self.up2(y), SLOPE) + skip
        y = self.up1(block("post", y))
        return (y if self.rows else y.permute(0, 2, 1)).reshape(1, -1), states


class Synthesis(nn.Module):
    """Spectrum, real and imaginary (1, hop) each, to a frame (1, window): the last layer, whose rounding is heard.

    ONNX computes it in fp32. XNNPACK rounds what goes into it, and one scale for all bins drowns the weak ones above
    SPLIT_HZ in the noise of the strong ones below: two Linears have a scale each.
    """

    SPLIT_HZ = 1000

    def __init__(self, model: Enhancer, rows: bool):
        super().__init__()
        config = model.config
        weight = model.synthesis.weight.unflatten(1, (2, config.hop))
        self.split = round(self.SPLIT_HZ * config.window / config.sample_rate) if rows else 0
        self.low = linear(weight[..., : self.split].flatten(1), None) if self.split else None
        self.high = linear(weight[..., self.split :].flatten(1), None)
        self.high.compute_float = "last layer: noise of rounded activations would be heard"  # type: ignore[assignment]

    def forward(self, real: Tensor, imag: Tensor) -> Tensor:
        if self.low is None:
            return self.high(torch.cat([real, imag], 1))
        pairs = torch.cat([real, imag])
        low, high = pairs[:, : self.split].reshape(1, -1), pairs[:, self.split :].reshape(1, -1)
        return self.low(low) + self.high(high)
