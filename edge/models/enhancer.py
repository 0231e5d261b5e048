"""The CRNN/TAT speech enhancer: causal, 16 kHz, waveform in, waveform out, explicit state.

A learned filterbank of quadrature pairs feeds densely connected dilated convolutions, a GRU and a
time-attention transformer. Their latent gives a complex mask on the pairs (noise, reverberation) and steers a
small convolutional encoder-decoder in the time domain whose output is added (missing frequencies, clipping).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import InputError
from edge.models.causal import (
    CausalConv1d,
    DenseDilatedBlock,
    GatedRecurrence,
    TimeAttentionTransformer,
    sqrt_hann_bases,
)

State = dict[str, Tensor]

LEVEL_FLOOR = 1e-10  # power: -100 dBFS, the level at which silence is heard
POWER_FLOOR = 1e-4  # of a pair, relative to the running level


@dataclass(frozen=True)
class EnhancerConfig:
    """Sizes of an `Enhancer`; all fields are JSON values. `attention_scale` stays when heads are pruned."""

    sample_rate: int = 16000
    hop: int = 192
    channels: int = 128
    growth: int = 48
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    gru: int = 128
    tat_layers: int = 2
    heads: int = 4
    head_dim: int = 32
    attention_window: int = 64
    attention_scale: float = 32**-0.5
    ffn: int = 160
    latent: int = 128
    time_channels: tuple[int, int] = (32, 64)
    time_strides: tuple[int, int] = (8, 4)
    level_seconds: float = 1.0
    mask_bound: float = 2.0
    bidirectional: bool = False

    def __post_init__(self) -> None:
        for name in ("dilations", "time_channels", "time_strides"):  # JSON gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.hop % math.prod(self.time_strides):
            raise InputError(f"hop {self.hop} is not a multiple of the time strides {self.time_strides}")

    @property
    def window(self) -> int:
        """Length of the filterbank, in samples."""
        return 2 * self.hop

    @property
    def delay(self) -> int:
        """Samples by which the output lags the input."""
        return self.window - self.hop

    @property
    def bins(self) -> int:
        return self.hop + 1

    @property
    def level_decay(self) -> float:
        return math.exp(-self.hop / (self.sample_rate * self.level_seconds))

    def to_dict(self) -> dict:
        return asdict(self)


class TimeDomainDecoder(nn.Module):
    """Causal 1-D convolutional encoder-decoder, steered by the latent: (B, 2, N) -> (B, N).

    Upsampling is a transposed convolution whose kernel equals its stride, that is a sub-pixel layout: no
    overlap, no state.
    """

    def __init__(self, config: EnhancerConfig):
        super().__init__()
        (c1, c2), (s1, s2) = config.time_channels, config.time_strides
        self.steps_per_hop = config.hop // (s1 * s2)
        self.conv1 = CausalConv1d(2, c1, 2 * s1, stride=s1)
        self.conv2 = CausalConv1d(c1, c2, 2 * s2, stride=s2)
        self.film_scale = nn.Linear(config.latent, c2)
        self.film_shift = nn.Linear(config.latent, c2)
        self.mid = CausalConv1d(c2, c2, 3)
        self.up2 = nn.ConvTranspose1d(c2, c1, s2, stride=s2)
        self.post = CausalConv1d(c1, c1, 3)
        self.up1 = nn.ConvTranspose1d(c1, 1, s1, stride=s1, bias=False)
        nn.init.ones_(self.film_scale.bias)
        with torch.no_grad():
            self.up1.weight.mul_(0.1)  # starts near the filterbank's output alone

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        return {f"time_{n}": (m.in_channels, m.history) for n, m in self.cached().items()}

    def cached(self) -> dict[str, CausalConv1d]:
        return {"conv1": self.conv1, "conv2": self.conv2, "mid": self.mid, "post": self.post}

    def _per_step(self, x: Tensor) -> Tensor:
        """(B, T, C) by hop -> (B, C, T * steps_per_hop) by step."""
        return F.interpolate(x.transpose(1, 2), scale_factor=float(self.steps_per_hop), mode="nearest")

    def forward(self, x: Tensor, latent: Tensor, state: State) -> tuple[Tensor, State]:
        new: State = {}

        def conv(name: str, y: Tensor) -> Tensor:
            y, new[f"time_{name}"] = self.cached()[name].stream(y, state[f"time_{name}"])
            return F.leaky_relu(y, 0.2)

        skip = conv("conv1", x)
        y = conv("conv2", skip)
        y = y * self._per_step(self.film_scale(latent)) + self._per_step(self.film_shift(latent))
        y = F.leaky_relu(self.up2(conv("mid", y)), 0.2) + skip
        return self.up1(conv("post", y))[:, 0], new


class Enhancer(nn.Module):
    """The network. `forward` serves a file and one hop of a stream alike; state is passed in and out."""

    def __init__(self, config: EnhancerConfig | None = None):
        super().__init__()
        self.config = config = config or EnhancerConfig()
        analysis, synthesis = sqrt_hann_bases(config.window)
        self.analysis = nn.Linear(config.window, 2 * config.bins, bias=False)
        self.synthesis = nn.Linear(2 * config.bins, config.window, bias=False)
        with torch.no_grad():
            self.analysis.weight.copy_(analysis)
            self.synthesis.weight.copy_(synthesis)
        self.encoder = nn.Linear(3 * config.bins, config.channels)
        self.encoder_norm = nn.LayerNorm(config.channels)
        self.dense = DenseDilatedBlock(config.channels, config.growth, config.dilations)
        self.gru = GatedRecurrence(config.channels, config.gru)
        self.gru_out = nn.Linear(config.gru, config.channels)
        if config.bidirectional:
            self.gru_backward = GatedRecurrence(config.channels, config.gru)
            self.gru_backward_out = nn.Linear(config.gru, config.channels, bias=False)
        self.tat = nn.ModuleList(
            TimeAttentionTransformer(
                config.channels,
                config.heads,
                config.head_dim,
                config.attention_window,
                config.attention_scale,
                config.ffn,
            )
            for _ in range(config.tat_layers)
        )
        self.latent_norm = nn.LayerNorm(config.channels)
        self.latent = nn.Linear(config.channels, config.latent)
        self.mask = nn.Linear(config.latent, 2 * config.bins)
        self.time_decoder = TimeDomainDecoder(config)
        with torch.no_grad():  # the untrained mask is 1 + 0j, nearly
            self.mask.weight.mul_(0.1)
            self.mask.bias.zero_()
            self.mask.bias[: config.bins] = math.atanh(1 / config.mask_bound)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes without the batch axis, from the modules' present widths; the order is the graphs'."""
        shapes: dict[str, tuple[int, ...]] = {
            "analysis": (self.config.window - self.config.hop,),
            "level": (2,),
            "dense": self.dense.state_shape(),
            "gru": (self.gru.width,),
        }
        for i, layer in enumerate(cast("list[TimeAttentionTransformer]", list(self.tat))):
            shapes[f"key{i}"] = shapes[f"value{i}"] = layer.attention.state_shape()
        shapes["synthesis"] = (self.config.window - self.config.hop,)
        return shapes | self.time_decoder.state_shapes()

    def _zeros(self, batch: int) -> State:
        like = self.analysis.weight
        return {name: like.new_zeros(batch, *shape) for name, shape in self.state_shapes().items()}

    def init_state(self, batch: int = 1) -> State:
        """Zero state for `batch` streams. Raises InputError for the bidirectional variant."""
        if self.config.bidirectional:
            raise InputError("a bidirectional enhancer cannot stream: use enhance() on the whole recording")
        return self._zeros(batch)

    def _level(self, frames: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Running RMS (B, T, 1) of hops (B, T, hop): an exponential mean over its sum of weights."""
        decay = self.config.level_decay
        power = frames.square().mean(dim=2)
        news = torch.stack([power, torch.ones_like(power)], dim=2) * (1 - decay)
        outs, block = [], 512
        for start in range(0, news.shape[1], block):
            part = news[:, start : start + block]
            i = torch.arange(part.shape[1], device=part.device, dtype=part.dtype)
            weights = torch.tril(decay ** (i[:, None] - i[None]).clamp_min(0))
            out = torch.matmul(weights, part) + decay ** (i[:, None] + 1) * level[:, None]
            level = out[:, -1]
            outs.append(out)
        both = torch.cat(outs, dim=1)
        return torch.sqrt(both[:, :, :1] / both[:, :, 1:] + LEVEL_FLOOR), level

    def _features(self, pairs: Tensor, level: Tensor) -> Tensor:
        """Log power and square-root-compressed pairs, relative to the running level: (B, T, 3 * bins)."""
        real, imag = (pairs / level).split(self.config.bins, dim=2)
        power = real.square() + imag.square() + POWER_FLOOR
        compress = torch.rsqrt(torch.sqrt(power))
        return torch.cat([0.3 * torch.log(power), real * compress, imag * compress], dim=2)

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
        batch = audio.shape[0]
        state = self._zeros(batch) if state is None else state
        new: State = {}

        hops = audio.reshape(batch, -1, config.hop)
        before = torch.cat([state["analysis"][:, None], hops[:, :-1]], dim=1)
        new["analysis"] = hops[:, -1]
        level, new["level"] = self._level(hops, state["level"])
        pairs = self.analysis(torch.cat([before, hops], dim=2))

        x = F.gelu(self.encoder_norm(self.encoder(self._features(pairs, level))))
        y, new["dense"] = self.dense(x.transpose(1, 2), state["dense"])
        x = y.transpose(1, 2)
        y, new["gru"] = self.gru(x, state["gru"])
        y = self.gru_out(y)
        if config.bidirectional:
            back, _ = self.gru_backward(x.flip(1), torch.zeros_like(state["gru"]))
            y = y + self.gru_backward_out(back.flip(1))
        x = x + y
        for i, layer in enumerate(self.tat):
            x, new[f"key{i}"], new[f"value{i}"] = layer(x, state[f"key{i}"], state[f"value{i}"])
        latent = F.gelu(self.latent(self.latent_norm(x)))

        mask_real, mask_imag = (config.mask_bound * torch.tanh(self.mask(latent))).split(config.bins, dim=2)
        real, imag = pairs.split(config.bins, dim=2)
        masked = torch.cat([real * mask_real - imag * mask_imag, real * mask_imag + imag * mask_real], dim=2)
        head, tail = self.synthesis(masked).split(config.hop, dim=2)
        filtered = head + torch.cat([state["synthesis"][:, None], tail[:, :-1]], dim=1)
        new["synthesis"] = tail[:, -1]

        # The latent knows `before` and `hops`; `filtered` is the enhanced `before`.
        both = torch.stack([filtered / level, before / level], dim=1).reshape(batch, 2, -1)
        added, decoder_state = self.time_decoder(both, latent, state)
        out = filtered + added.reshape(batch, -1, config.hop) * level
        new |= decoder_state
        return out.reshape(batch, -1), {} if config.bidirectional else {name: new[name] for name in state}

    def enhance(self, audio: Tensor) -> Tensor:
        """Enhance whole recordings: float32 (B, N) of any N >= 0 -> (B, N), aligned with the input."""
        length = audio.shape[1]
        if length == 0:
            return audio
        padded = length + self.config.delay
        audio = F.pad(audio, (0, -padded % self.config.hop + self.config.delay))
        return self(audio)[0][:, self.config.delay : self.config.delay + length]
