"""The enhancer as a graph of exactly one hop, laid out for ONNX Runtime or XNNPACK.

ONNX Runtime gets feature maps (1, channels, bands) and 1-D convolutions: the fewest nodes, and no blocked layouts.
XNNPACK gets the same maps as rows (bands, channels) and Linears, convolutions over taps side by side: all of it
delegates and quantizes dynamically. In both, axis 1 is the channels. Norms, constant factors and the attention's scale
are folded into weights; states have the shapes of the first form. All of it is exact up to float32 rounding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import InputError
from edge.export.enhancer_layers import (
    Bands,
    Mix,
    Recurrence,
    Synthesis,
    TimeLayers,
    Transformer,
    along,
    as_map,
    conv_norm,
    folded,
    linear,
    linear_norm,
    pointwise,
    row_mean,
)
from edge.export.norms import FORMS
from edge.models.enhancer import LEVEL_FLOOR, POWER_FLOOR, Enhancer, State
from edge.models.enhancer.network import COMPRESSION, MASK_FLOOR

# The running level is kept in units of -60 dBFS: ONNX optimizers drop "+ 1e-10" as if it were "+ 0".
LEVEL_UNIT = 1e-3


class LoweredEnhancer(nn.Module):
    """One hop of an `Enhancer`: forward(audio (1, hop), *states) -> (enhanced (1, hop), *next states)."""

    energy_gain: Tensor
    weight_step: Tensor

    def __init__(self, model: Enhancer, target: str):
        super().__init__()
        self.config = config = model.config
        rows = self.rows = FORMS[target].delegated
        self.decay = config.level_decay
        self.analysis = linear(model.analysis.weight, None)
        self.encoder = conv_norm(model.encoder, rows)
        self.dense = nn.ModuleList(conv_norm(layer, rows) for layer in model.dense.layers)
        self.dense_out = linear_norm(model.dense.out, rows)
        self.down, self.up = Bands(model.down, rows), Bands(model.up, rows)
        weight, bias = folded(model.to_bands.linear.weight, model.to_bands.norm)
        self.to_bands = pointwise(weight, torch.zeros_like(bias), rows)
        self.recurrences = nn.ModuleList(Recurrence(layer, rows) for layer in model.recurrences)
        self.mixes = nn.ModuleList(Mix(layer, rows) for layer in model.mixes)
        self.tat = Transformer(model.tat)
        for name, offset in (
            ("encoder_bias", model.band_bias_in.weight),
            ("band_bias", model.band_bias.weight + bias),
        ):
            offset = offset.detach().float()
            self.register_buffer(name, offset.clone() if rows else as_map(offset).contiguous().clone())
        # a frame's map is one row of the pool's input, bands or channels first
        pool, spread = model.pool.weight, model.spread.weight
        if not rows:
            pool, spread = pool.transpose(1, 2), spread.transpose(0, 1)
        self.pool = linear(*folded(pool.flatten(1), model.pool_norm))
        spread_bias = model.spread.bias if rows else model.spread.bias.t()
        self.spread = linear(spread.flatten(0, 1), spread_bias.flatten())
        # nothing bends between `from_bands` and `fuse`, and `up` works on bands alone: one layer on few bands in place
        # of two on many
        weight, bias = folded(model.fuse.linear.weight, model.fuse.norm)
        of_bands, offset = folded(model.from_bands.linear.weight, model.from_bands.norm)
        by_bands, by_dense = weight.split([len(of_bands), weight.shape[1] - len(of_bands)], dim=1)
        self.fuse_bands = pointwise(by_bands @ of_bands, torch.zeros_like(bias), rows)
        self.fuse_dense = pointwise(by_dense, bias + by_bands @ offset.double(), rows)
        self.decoder = conv_norm(model.decoder, rows)
        self.mask = along(model.mask.weight[:, :, 0], model.mask.bias, rows, reach=model.mask.padding[1])
        self.synthesis = Synthesis(model, rows)
        self.time_stage = TimeLayers(model.time_stage, rows)
        self.register_buffer("energy_gain", torch.tensor([[(1 - self.decay) / LEVEL_UNIT**2, 0.0]]))
        self.register_buffer("weight_step", torch.tensor([[0.0, 1 - self.decay]]))

        shapes: dict[str, tuple[int, ...]] = {"analysis": (1, config.hop), "level": (1, 2)}
        for i, layer in enumerate(self.recurrences):
            shapes[f"gru{i}"] = (1, layer.width, config.bands)
        shapes["key"] = shapes["value"] = self.tat.state_shape
        shapes["synthesis"] = (1, config.hop)
        self.state_shapes = shapes | {f"time_{n}": block.state_shape for n, block in self.time_stage.blocks.items()}

    def init_state(self) -> State:
        """Zero states, in the order of the arguments of `forward`."""
        return {name: torch.zeros(shape) for name, shape in self.state_shapes.items()}

    def _features(self, pairs: Tensor) -> Tensor:
        """(2, hop) over the running level -> the compressed pairs and magnitude."""
        squares = pairs * pairs
        log = torch.log(squares[:1] + squares[1:] + POWER_FLOOR)
        compressed = pairs * torch.exp(log * ((COMPRESSION - 1) / 2))
        features = torch.cat([compressed, torch.exp(log * (COMPRESSION / 2))], 0)
        return features.permute(1, 0) if self.rows else features[None]

    def _mask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of the expanded mask, (1, hop) each."""
        mask, stride = self.mask(x), self.config.stride
        if self.rows:
            mr, mi = mask[:, :stride].reshape(1, -1), mask[:, stride:].reshape(1, -1)
        else:
            mask = mask.reshape(2, stride, -1).permute(0, 2, 1).reshape(2, -1)
            mr, mi = mask[:1], mask[1:]
        square = mr * mr + mi * mi + MASK_FLOOR
        expand = torch.exp(torch.log(square) * ((1 / COMPRESSION - 1) / 2))
        return mr * expand, mi * expand

    def forward(self, audio: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        hop, blocks = self.config.hop, len(self.recurrences)
        before, level = states[:2]
        hidden, (key, value, tail, *of_time) = states[2 : 2 + blocks], states[2 + blocks :]

        square = audio * audio
        mean = row_mean(square) if self.rows else square.mean(1, keepdim=True)
        level = level * self.decay + mean * self.energy_gain + self.weight_step
        power = level[:, :1] / level[:, 1:] + LEVEL_FLOOR / LEVEL_UNIT**2
        gain = torch.sqrt(power) * LEVEL_UNIT
        inverse = torch.rsqrt(power) * (1 / LEVEL_UNIT) if self.rows else 1 / gain

        recent = torch.cat([before, audio], 1)
        pairs = self.analysis(recent)
        real, imag = pairs[:, :hop], pairs[:, hop:]
        x = F.relu(self.encoder(self._features(pairs.reshape(2, hop) * inverse)) + self.encoder_bias)
        for layer in self.dense:
            x = torch.cat([x, F.relu(layer(x))], 1)
        dense = x
        r = self.to_bands(self.down(F.relu(self.dense_out(x)))) + self.band_bias
        following: list[Tensor] = []
        for n, (recurrence, mix) in enumerate(zip(self.recurrences, self.mixes, strict=True)):
            r, state = recurrence(r, hidden[n])
            following.append(state)
            r = mix(r)
            if n == 0:
                latent, key, value = self.tat(F.relu(self.pool(r.reshape(1, -1))), key, value)
                r = r + self.spread(latent).reshape(r.shape)
        x = F.relu(self.up(self.fuse_bands(r)) + self.fuse_dense(dense))
        x = F.relu(self.decoder(x))

        mr, mi = self._mask(x)
        frame = self.synthesis(real * mr - imag * mi, real * mi + imag * mr)
        filtered = frame[:, :hop] + tail
        added, of_time = self.time_stage(torch.cat([filtered, before], 0) * inverse, latent, *of_time)
        out = filtered + added * gain
        # a slice, not `audio`: an output must not share the caller's input buffer
        return out, recent[:, hop:], level, *following, key, value, frame[:, hop:], *of_time


def lower_enhancer(model: Enhancer, target: str) -> LoweredEnhancer:
    """One hop of `model` for a backend. Raises InputError for the bidirectional variant and for broken weights."""
    if model.config.bidirectional:
        raise InputError("a bidirectional enhancer cannot stream: export the causal variant")
    for parameter in model.parameters():
        if not math.isfinite(parameter.detach().abs().sum().item()):
            raise InputError("the enhancer's weights hold NaN or Inf: load an intact checkpoint")
    with torch.no_grad():
        return LoweredEnhancer(model, target).eval()
