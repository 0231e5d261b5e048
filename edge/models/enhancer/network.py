"""The CRNN/TAT speech enhancer: causal, 16 kHz, waveform in, waveform out, explicit state.

A learned filterbank of quadrature pairs feeds densely connected dilated convolutions along frequency, GRUs over time
that all bands share, static mixing of bands and a time-attention transformer on a summary of all bands. They give a
complex mask on the pairs (noise, reverberation), and the attention's latent steers a small convolutional
encoder-decoder in the time domain whose output is added (missing frequencies, clipping).

Weights shared across frequency learn fast and small: the design follows FastEnhancer (arXiv:2509.21867); all norms
are BatchNorms and fold away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import InputError
from edge.models.enhancer.bands import (
    BandBias,
    BandMap,
    BandMix,
    BandPool,
    BandRecurrence,
    BandSpread,
    ChannelNorm,
    ConvNorm,
    LinearNorm,
    along_frequency,
)
from edge.models.enhancer.filterbank import odd_fourier_bases, power_law, running_power
from edge.models.enhancer.recurrence import TimeAttentionTransformer
from edge.models.enhancer.time_stage import TimeStage

State = dict[str, Tensor]

LEVEL_FLOOR = 1e-10  # power: -100 dBFS, the level at which silence is heard
POWER_FLOOR = 1e-6  # of a pair, relative to the running level
COMPRESSION = 0.3  # the power law of features and mask
MASK_FLOOR = 1e-6


@dataclass(frozen=True)
class EnhancerConfig:
    """Sizes of an `Enhancer`; all fields are JSON values.

    hop: samples between frames; a frame is two hops. stride: bins of the filterbank in a sub-band of the encoder.
    bands, width: of the recurrent part. attention: width of the time attention and of its latent.
    """

    sample_rate: int = 16000
    hop: int = 256
    stride: int = 8
    channels: int = 32
    growth: int = 16
    dilations: tuple[int, ...] = (1, 2)
    bands: int = 16
    width: int = 32
    blocks: int = 2
    mix_heads: int = 4
    attention: int = 48
    heads: int = 4
    attention_window: int = 64
    ffn: int = 96
    time_channels: tuple[int, int] = (16, 32)
    time_strides: tuple[int, int] = (8, 4)
    level_seconds: float = 1.0
    bidirectional: bool = False

    def __post_init__(self) -> None:
        for name in ("dilations", "time_channels", "time_strides"):  # JSON gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.hop % math.prod(self.time_strides):
            raise InputError(f"hop {self.hop} is not a multiple of the time strides {self.time_strides}")
        if self.hop % self.stride:
            raise InputError(f"hop {self.hop} is not a multiple of the sub-band stride {self.stride}")

    @property
    def window(self) -> int:
        """Length of the filterbank, in samples."""
        return 2 * self.hop

    @property
    def delay(self) -> int:
        """Samples by which the output lags the input."""
        return self.window - self.hop

    @property
    def level_decay(self) -> float:
        return math.exp(-self.hop / (self.sample_rate * self.level_seconds))


class DenseBlock(nn.Module):
    """Densely connected dilated convolutions along frequency: each layer sees the input and all layers before it."""

    def __init__(self, channels: int, growth: int, dilations: tuple[int, ...]):
        super().__init__()
        widths = [channels + growth * i for i in range(len(dilations) + 1)]
        self.layers = nn.ModuleList(ConvNorm(w, growth, 3, dilation=d) for w, d in zip(widths, dilations, strict=False))
        self.out = LinearNorm(widths[-1], channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, F, C) -> all features (N, F, C + growth * layers), and their summary (N, F, C)."""
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], dim=-1)
        return x, F.relu(self.out(x))


class Enhancer(nn.Module):
    """The network. `forward` serves a file and one hop of a stream alike; state is passed in and out."""

    def __init__(self, config: EnhancerConfig | None = None):
        super().__init__()
        self.config = config = config or EnhancerConfig()
        channels, width, bands, stride = config.channels, config.width, config.bands, config.stride
        analysis, synthesis = odd_fourier_bases(config.window)
        self.analysis = nn.Linear(config.window, config.window, bias=False)
        self.synthesis = nn.Linear(config.window, config.window, bias=False)
        self.encoder = ConvNorm(3, channels, 2 * stride, stride)
        self.band_bias_in = BandBias(config.hop // stride, channels)
        self.dense = DenseBlock(channels, config.growth, config.dilations)
        self.down = BandMap.triangles(config.hop // stride, bands)
        self.to_bands = LinearNorm(channels, width)
        self.band_bias = BandBias(bands, width)
        self.recurrences = nn.ModuleList(
            BandRecurrence(width, width, config.bidirectional) for _ in range(config.blocks)
        )
        self.mixes = nn.ModuleList(BandMix(bands, width, config.mix_heads) for _ in range(config.blocks))
        self.pool = BandPool(bands, width, config.attention)
        self.pool_norm = ChannelNorm(config.attention)
        self.tat = TimeAttentionTransformer(config.attention, config.heads, config.attention_window, config.ffn)
        self.spread = BandSpread(config.attention, bands, width)
        self.up = BandMap.triangles(bands, config.hop // stride)
        self.from_bands = LinearNorm(width, channels)
        self.fuse = LinearNorm(2 * channels + config.growth * len(config.dilations), channels)
        self.decoder = ConvNorm(channels, channels, 3)
        self.mask = nn.Conv2d(channels, 2 * stride, (1, 3), padding=(0, 1))
        self.time_stage = TimeStage(config.time_channels, config.time_strides, config.attention, config.hop)
        with torch.no_grad():
            self.analysis.weight.copy_(analysis)
            self.synthesis.weight.copy_(synthesis)
            self.mask.weight.mul_(0.3)  # the untrained mask is 1 + 0j, nearly
            self.mask.bias.zero_()
            self.mask.bias[:stride] = 1.0

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes without the batch axis, from the modules' present widths; the order is the graphs'."""
        hop = self.config.hop
        shapes: dict[str, tuple[int, ...]] = {"analysis": (hop,), "level": (2,)}
        for i, block in enumerate(self.recurrences):
            shapes[f"gru{i}"] = (self.config.bands, block.gru.width)
        shapes["key"] = shapes["value"] = self.tat.attention.state_shape()
        shapes["synthesis"] = (hop,)
        return shapes | {f"time_{name}": conv.state_shape() for name, conv in self.time_stage.convs().items()}

    def _zeros(self, batch: int) -> State:
        like = self.analysis.weight
        return {name: like.new_zeros(batch, *shape) for name, shape in self.state_shapes().items()}

    def init_state(self, batch: int = 1) -> State:
        """Zero state for `batch` streams. Raises InputError for the bidirectional variant."""
        if self.config.bidirectional:
            raise InputError("a bidirectional enhancer cannot stream: use enhance() on the whole recording")
        return self._zeros(batch)

    def _features(self, pairs: Tensor) -> Tensor:
        """Pairs over the running level (N, hop, 2) -> compressed pairs and magnitude, as a map (N, hop, 3)."""
        return torch.cat(power_law(pairs, 2, COMPRESSION, POWER_FLOOR, self.training), dim=2)

    def _mask(self, features: Tensor) -> Tensor:
        """The last map (N, F, channels) -> the complex mask (N, 2, hop), expanded from its compressed form."""
        mask = along_frequency(self.mask, features).unflatten(2, (2, self.config.stride)).transpose(1, 2).flatten(2)
        return power_law(mask, 1, 1 / COMPRESSION, MASK_FLOOR, self.training)[0]

    def forward(self, audio: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Enhance T hops.

        Args:
            audio: float32 (B, T * hop), full scale 1.
            state: from `init_state` or the call before; None starts afresh.

        Returns:
            float32 (B, T * hop), lagging the input by `config.delay` samples, and the next state (empty for
            the bidirectional variant).

        Raises:
            InputError: the length is not a positive multiple of the hop, or a state was given to the
                bidirectional variant.
        """
        config = self.config
        if audio.dim() != 2 or audio.shape[1] == 0 or audio.shape[1] % config.hop:
            raise InputError(f"audio must be (batch, a multiple of {config.hop} samples), not {tuple(audio.shape)}")
        if config.bidirectional and state is not None:
            raise InputError("a bidirectional enhancer takes no state: use enhance() on the whole recording")
        batch, steps = audio.shape[0], audio.shape[1] // config.hop
        state = self._zeros(batch) if state is None else state
        new: State = {}

        hops = audio.reshape(batch, steps, config.hop)
        before = torch.cat([state["analysis"][:, None], hops[:, :-1]], dim=1)
        new["analysis"] = hops[:, -1]
        power, new["level"] = running_power(hops.square().mean(2), state["level"], config.level_decay)
        level = torch.sqrt(power + LEVEL_FLOOR)[..., None]
        pairs = self.analysis(torch.cat([before, hops], dim=2))

        split = (pairs / level).reshape(batch * steps, 2, config.hop).transpose(1, 2)
        x = self.encoder(self._features(split))
        dense, x = self.dense(F.relu(self.band_bias_in(x)))
        r = self.band_bias(self.to_bands(self.down(x))).unflatten(0, (batch, steps))
        for i, (recurrence, mix) in enumerate(zip(self.recurrences, self.mixes, strict=True)):
            r, new[f"gru{i}"] = recurrence(r, state[f"gru{i}"])
            r = mix(r)
            if i == 0:
                summary = F.relu(self.pool_norm(self.pool(r)))
                latent, new["key"], new["value"] = self.tat(summary, state["key"], state["value"])
                r = r + self.spread(latent)
        x = self.from_bands(self.up(r.flatten(0, 1)))
        x = F.relu(self.decoder(F.relu(self.fuse(torch.cat([x, dense], dim=-1)))))

        real, imag = pairs.split(config.hop, dim=2)
        mask_real, mask_imag = self._mask(x).unflatten(0, (batch, steps)).unbind(2)
        masked = torch.cat([real * mask_real - imag * mask_imag, real * mask_imag + imag * mask_real], dim=2)
        head, tail = self.synthesis(masked).split(config.hop, dim=2)
        filtered = head + torch.cat([state["synthesis"][:, None], tail[:, :-1]], dim=1)
        new["synthesis"] = tail[:, -1]

        # The latent knows `before` and `hops`; `filtered` is the enhanced `before`.
        both = torch.stack([filtered / level, before / level], dim=1).reshape(batch, 2, -1)
        added, of_time = self.time_stage(both, latent, state)
        new |= of_time
        out = filtered + added.reshape(batch, steps, config.hop) * level
        return out.reshape(batch, -1), {} if config.bidirectional else {name: new[name] for name in state}

    def enhance(self, audio: Tensor) -> Tensor:
        """Enhance whole recordings: float32 (B, N) of any N >= 0 -> (B, N), aligned with the input."""
        length = audio.shape[1]
        if length == 0:
            return audio
        padded = length + self.config.delay
        audio = F.pad(audio, (0, -padded % self.config.hop + self.config.delay))
        return self(audio)[0][:, self.config.delay : self.config.delay + length]
