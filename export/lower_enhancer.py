"""The enhancer as a graph of exactly one hop, laid out for XNNPACK and ONNX Runtime.

Every weighted layer becomes a Linear: dilated convolutions over their cached taps, strided ones over blocks of
samples, transposed ones as a sub-pixel layout. Constant factors, norm gains and the centring of norms that follow a
Linear are folded into weights. All of it is exact up to float32 rounding.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import InputError
from edge.export.norms import Target
from edge.models.causal import (
    CausalConv1d,
    DenseDilatedBlock,
    GatedRecurrence,
    TimeAttentionTransformer,
)
from edge.models.enhancer import LEVEL_FLOOR, POWER_FLOOR, Enhancer, State, TimeDomainDecoder

# The running level is kept in units of -60 dBFS: ONNX optimizers drop "+ 1e-10" as if it were "+ 0".
LEVEL_UNIT = 1e-3


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().float().contiguous().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().float().clone(), requires_grad=False)
    return layer


def _merged(layers: list[nn.Linear]) -> nn.Linear:
    """Linears of one input as one Linear with their outputs side by side."""
    return _linear(torch.cat([m.weight for m in layers]), torch.cat([m.bias for m in layers]))


def _centred(layer: nn.Linear) -> nn.Linear:
    """The Linear whose outputs have their mean over channels taken out."""
    weight, bias = layer.weight.double(), layer.bias.double()
    return _linear(weight - weight.mean(0), bias - bias.mean())


def _after_affine(layer: nn.Linear, norm: nn.LayerNorm) -> nn.Linear:
    """The Linear that takes what `norm` would give before its gain and bias."""
    weight = layer.weight.double()
    return _linear(weight * norm.weight.double(), layer.bias.double() + weight @ norm.bias.double())


def _mean(x: Tensor) -> Tensor:
    """Mean of (1, C) as (1, 1), in the only form that XNNPACK takes: over the last two of four dimensions."""
    return x.reshape(1, 1, 1, -1).mean((2, 3), keepdim=True).reshape(1, 1)


class _Normalise(nn.Module):
    """LayerNorm of (1, C) without gain and bias; `centred` inputs have zero mean already."""

    def __init__(self, norm: nn.LayerNorm, centred: bool):
        super().__init__()
        self.eps, self.centred = norm.eps, centred

    def forward(self, x: Tensor) -> Tensor:
        if not self.centred:
            x = x - _mean(x)
        return x * torch.rsqrt(_mean(x * x) + self.eps)


class _LinearNormGelu(nn.Module):
    """GELU(LayerNorm(Linear(x)))."""

    def __init__(self, layer: nn.Linear, norm: nn.LayerNorm):
        super().__init__()
        self.linear = _centred(layer)
        self.norm = _Normalise(norm, centred=True)
        self.register_buffer("gain", norm.weight.detach()[None].clone())
        self.register_buffer("bias", norm.bias.detach()[None].clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(self.linear(x)) * self.gain + self.bias)


class _Dense(nn.Module):
    """Dense dilated block. State (P, C): one row a past frame, oldest first."""

    def __init__(self, block: DenseDilatedBlock):
        super().__init__()
        convs = cast("list[CausalConv1d]", list(block.convs))
        norms = cast("list[nn.LayerNorm]", list(block.norms))
        self.taps = [[-c.dilation[0] * k for k in range(c.kernel_size[0] - 1, 0, -1)] for c in convs]
        self.widths = [c.in_channels for c in convs]
        layers = []
        for conv, norm in zip(convs, norms, strict=True):
            weight = conv.weight.detach().transpose(1, 2).reshape(conv.out_channels, -1)
            layers.append(_LinearNormGelu(_linear(weight, conv.bias), norm))
        self.layers = nn.ModuleList(layers)
        self.out = _LinearNormGelu(_linear(block.out.weight.detach()[:, :, 0], block.out.bias), block.out_norm)
        self.state_shape = tuple(reversed(block.state_shape()))

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        rows, features, last = past.shape[0], x, x
        for layer, taps, width in zip(self.layers, self.taps, self.widths, strict=True):
            cached = [past[rows + t : rows + t + 1, :width] for t in taps]
            last, features = features, torch.cat([features, layer(torch.cat([*cached, features], 1))], 1)
        return x + self.out(features), torch.cat([past[1:], last], 0)


class _Recurrence(nn.Module):
    """One GRU step with the gates of each side in one Linear."""

    def __init__(self, cell: GatedRecurrence):
        super().__init__()
        self.width = cell.width
        self.input = _merged([cell.input_reset, cell.input_update, cell.input_new])
        self.hidden = _merged([cell.hidden_reset, cell.hidden_update, cell.hidden_new])

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        n = self.width
        i, r = self.input(x), self.hidden(h)
        gates = torch.sigmoid(i[:, : 2 * n] + r[:, : 2 * n])
        new = torch.tanh(i[:, 2 * n :] + gates[:, :n] * r[:, 2 * n :])
        return new + gates[:, n:] * (h - new)


class _Transformer(nn.Module):
    """Time-attention layer for one frame. State: keys and values (heads, window - 1, head width)."""

    lag_bias: Tensor

    def __init__(self, layer: TimeAttentionTransformer):
        super().__init__()
        attention = layer.attention
        self.heads = attention.heads
        self.norm1 = _Normalise(layer.norm1, centred=False)
        self.norm2 = _Normalise(layer.norm2, centred=False)
        scaled = _linear(attention.q.weight * attention.scale, attention.q.bias * attention.scale)
        self.qkv = _after_affine(_merged([scaled, attention.k, attention.v]), layer.norm1)
        self.out = _linear(attention.out.weight, attention.out.bias)
        self.linear1 = _after_affine(layer.linear1, layer.norm2)
        self.linear2 = _linear(layer.linear2.weight, layer.linear2.bias)
        self.register_buffer("lag_bias", attention.lag_bias.detach().flip(1)[:, None].clone())
        self.state_shape = attention.state_shape()

    def forward(self, x: Tensor, past_k: Tensor, past_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv = self.qkv(self.norm1(x))
        width = qkv.shape[1] // 3
        q = qkv[:, :width].reshape(self.heads, -1, 1)
        k = torch.cat([past_k, qkv[:, width : 2 * width].reshape(self.heads, 1, -1)], 1)
        v = torch.cat([past_v, qkv[:, 2 * width :].reshape(self.heads, 1, -1)], 1)
        # keys on the left: no transposed copy of the cache
        logits = torch.bmm(k, q).reshape(self.heads, 1, -1) + self.lag_bias
        y = torch.bmm(torch.softmax(logits, dim=-1), v).reshape(1, width)
        x = x + self.out(y)
        x = x + self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return x, k[:, 1:], v[:, 1:]


class _Taps(nn.Module):
    """A causal convolution over rows (L, stride * C), as a Linear over each row and the rows before it."""

    def __init__(self, conv: CausalConv1d, slope: float = 0.2):
        super().__init__()
        stride, kernel = conv.stride[0], conv.kernel_size[0]
        self.count = kernel // stride
        self.state_shape = (self.count - 1, stride * conv.in_channels)
        # (out, C, K) -> (out, K, C): rows hold samples in time order, channels innermost
        weight = conv.weight.detach().transpose(1, 2).reshape(conv.out_channels, -1)
        self.linear = _linear(weight, conv.bias)
        self.slope = slope

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.shape[0]
        joined = torch.cat([past, x], 0)
        taps = torch.cat([joined[i : i + rows] for i in range(self.count)], 1)
        return F.leaky_relu(self.linear(taps), self.slope), joined[rows:]


def _sub_pixel(conv: nn.ConvTranspose1d) -> nn.Linear:
    """ConvTranspose1d with kernel = stride as a Linear from a row to `stride` rows."""
    weight = conv.weight.detach().permute(2, 1, 0).reshape(-1, conv.in_channels)
    return _linear(weight, None if conv.bias is None else conv.bias.detach().repeat(conv.stride[0]))


class _TimeDecoder(nn.Module):
    def __init__(self, decoder: TimeDomainDecoder):
        super().__init__()
        self.block1, self.block2 = decoder.conv1.stride[0], decoder.conv2.stride[0]
        self.width = decoder.conv2.out_channels
        self.conv1, self.conv2 = _Taps(decoder.conv1), _Taps(decoder.conv2)
        self.mid, self.post = _Taps(decoder.mid), _Taps(decoder.post)
        # rows of the first layer hold a block of one input channel, then of the other
        weight = decoder.conv1.weight.detach().unflatten(2, (-1, self.block1)).transpose(1, 2)
        self.conv1.linear = _linear(weight.reshape(decoder.conv1.out_channels, -1), decoder.conv1.bias)
        self.film = _merged([decoder.film_scale, decoder.film_shift])
        self.up2, self.up1 = _sub_pixel(decoder.up2), _sub_pixel(decoder.up1)

    def forward(self, a: Tensor, b: Tensor, latent: Tensor, *past: Tensor) -> tuple[Tensor, list[Tensor]]:
        hop = a.shape[1]
        film = self.film(latent)
        rows = torch.cat([a.reshape(-1, self.block1), b.reshape(-1, self.block1)], 1)
        skip, conv1 = self.conv1(rows, past[0])
        y, conv2 = self.conv2(skip.reshape(hop // (self.block1 * self.block2), -1), past[1])
        y, mid = self.mid(y * film[:, : self.width] + film[:, self.width :], past[2])
        y = F.leaky_relu(self.up2(y).reshape(hop // self.block1, -1), 0.2) + skip
        y, post = self.post(y, past[3])
        return self.up1(y).reshape(1, hop), [conv1, conv2, mid, post]


class _Synthesis(nn.Module):
    """Spectrum, real and imaginary (1, bins), to a frame (1, window): the last layer, whose rounding is heard.

    ONNX computes it in fp32. XNNPACK rounds what goes into it, and one scale for all bins drowns the weak ones above
    SPLIT_HZ in the noise of the strong ones below: two Linears have a scale each.
    """

    SPLIT_HZ = 1000

    def __init__(self, model: Enhancer, target: Target):
        super().__init__()
        config = model.config
        weight = (model.synthesis.weight * config.mask_bound).unflatten(1, (2, config.bins))
        self.split = round(self.SPLIT_HZ * config.window / config.sample_rate) if target != "onnx" else 0
        self.low = _linear(weight[..., : self.split].flatten(1), None) if self.split else None
        self.high = _linear(weight[..., self.split :].flatten(1), None)
        self.high.compute_float = "last layer: noise of rounded activations would be heard"  # type: ignore[assignment]

    def forward(self, real: Tensor, imag: Tensor) -> Tensor:
        if self.low is None:
            return self.high(torch.cat([real, imag], 1))
        pairs = torch.cat([real, imag])
        low, high = pairs[:, : self.split].reshape(1, -1), pairs[:, self.split :].reshape(1, -1)
        return self.low(low) + self.high(high)


class LoweredEnhancer(nn.Module):
    """One hop of an `Enhancer`: forward(audio (1, hop), *states) -> (enhanced (1, hop), *next states)."""

    energy_gain: Tensor
    weight_step: Tensor

    def __init__(self, model: Enhancer, target: Target):
        super().__init__()
        self.config = config = model.config
        bins = self.bins = config.bins
        self.decay = config.level_decay
        self.analysis = _linear(model.analysis.weight, None)
        encoder = model.encoder.weight.detach().double().clone()
        encoder[:, :bins] *= 0.3  # of the log power
        self.encoder = _LinearNormGelu(_linear(encoder, model.encoder.bias), model.encoder_norm)
        self.dense = _Dense(model.dense)
        self.gru = _Recurrence(model.gru)
        self.gru_out = _linear(model.gru_out.weight, model.gru_out.bias)
        layers = cast("list[TimeAttentionTransformer]", list(model.tat))
        self.tat = nn.ModuleList(_Transformer(layer) for layer in layers)
        self.latent_norm = _Normalise(model.latent_norm, centred=False)
        self.latent = _after_affine(model.latent, model.latent_norm)
        self.mask = _linear(model.mask.weight, model.mask.bias)
        self.synthesis = _Synthesis(model, target)
        self.time_decoder = _TimeDecoder(model.time_decoder)
        self.register_buffer("energy_gain", torch.tensor([[(1 - self.decay) / LEVEL_UNIT**2, 0.0]]))
        self.register_buffer("weight_step", torch.tensor([[0.0, 1 - self.decay]]))

        shapes: dict[str, tuple[int, ...]] = {
            "analysis": (1, config.hop),
            "level": (1, 2),
            "dense": self.dense.state_shape,
            "gru": (1, self.gru.width),
        }
        for i, layer in enumerate(cast("list[_Transformer]", list(self.tat))):
            shapes[f"key{i}"] = shapes[f"value{i}"] = layer.state_shape
        shapes["synthesis"] = (1, config.hop)
        decoder = self.time_decoder
        for name, taps in zip(
            ("conv1", "conv2", "mid", "post"),
            (decoder.conv1, decoder.conv2, decoder.mid, decoder.post),
            strict=True,
        ):
            shapes[f"time_{name}"] = taps.state_shape
        self.state_shapes = shapes

    def init_state(self) -> State:
        """Zero states, in the order of the arguments of `forward`."""
        return {name: torch.zeros(shape) for name, shape in self.state_shapes.items()}

    def forward(self, audio: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        bins, hop, layers = self.bins, self.config.hop, len(self.tat)
        before, level, dense, gru = states[:4]
        caches, (tail, *decoder) = states[4 : 4 + 2 * layers], states[4 + 2 * layers :]

        level = level * self.decay + _mean(audio * audio) * self.energy_gain + self.weight_step
        power = level[:, :1] / level[:, 1:] + LEVEL_FLOOR / LEVEL_UNIT**2
        gain, inverse = torch.sqrt(power) * LEVEL_UNIT, torch.rsqrt(power) * (1 / LEVEL_UNIT)

        recent = torch.cat([before, audio], 1)
        pairs = self.analysis(recent)
        real, imag = pairs[:, :bins], pairs[:, bins:]
        r, i = real * inverse, imag * inverse
        energy = r * r + i * i + POWER_FLOOR
        compress = torch.rsqrt(torch.sqrt(energy))
        x = self.encoder(torch.cat([torch.log(energy), r * compress, i * compress], 1))

        x, dense = self.dense(x, dense)
        gru = self.gru(x, gru)
        x = x + self.gru_out(gru)
        new_caches: list[Tensor] = []
        for n, layer in enumerate(self.tat):
            x, *cache = layer(x, caches[2 * n], caches[2 * n + 1])
            new_caches += cache
        latent = F.gelu(self.latent(self.latent_norm(x)))

        mask = torch.tanh(self.mask(latent))
        mr, mi = mask[:, :bins], mask[:, bins:]
        frame = self.synthesis(real * mr - imag * mi, real * mi + imag * mr)
        filtered = frame[:, :hop] + tail
        added, decoder = self.time_decoder(filtered * inverse, before * inverse, latent, *decoder)
        enhanced = filtered + added * gain
        # a slice, not `audio`: an output must not share the caller's input buffer
        return (enhanced, recent[:, hop:], level, dense, gru, *new_caches, frame[:, hop:], *decoder)


def lower_enhancer(model: Enhancer, target: Target) -> LoweredEnhancer:
    """Lower a causal enhancer of any widths to one hop at batch 1, ready for `torch.export`.

    Raises:
        InputError: the model is bidirectional, so it has no streaming form.
    """
    if model.config.bidirectional:
        raise InputError("a bidirectional enhancer cannot stream: export the causal variant")
    for parameter in model.parameters():
        if not math.isfinite(parameter.detach().abs().sum().item()):
            raise InputError("the enhancer's weights hold NaN or Inf: load an intact checkpoint")
    with torch.no_grad():
        return LoweredEnhancer(model, target).eval()
