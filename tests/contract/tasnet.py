"""A third architecture, as somebody from outside would add it: a small convolutional TasNet (Luo & Mesgarani 2019).

A learned basis, a stack of dilated convolutions that gives a mask for each source, and the basis back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge import samples
from edge.compression.architectures import PRUNING, Pruning
from edge.compression.groups import ChannelGroup
from edge.compression.importance import cut
from edge.export.architectures import LOWERING, Lowering
from edge.interface import Interface, separation_interface
from edge.models.architectures import ARCHITECTURES, Architecture
from edge.runtime.streams import Separator, Statistics

STRIDE, KERNEL = 8, 16


@dataclass(frozen=True)
class TasNetConfig:
    sources: tuple[str, ...] = samples.STEMS
    sample_rate: int = 44100
    audio_channels: int = 2
    segment_samples: int = 8000
    basis: int = 24
    channels: int = 32
    hidden: int = 32
    dilations: tuple[int, ...] = (1, 2, 4)


class TasNet(nn.Module):
    """mix (B, C, L) -> stems (B, S, C, L), L a multiple of the stride; 2-D convolutions, which XNNPACK takes."""

    def __init__(self, config: TasNetConfig):
        super().__init__()
        self.config, c = config, config
        self.encoder = nn.Conv2d(c.audio_channels, c.basis, (1, KERNEL), (1, STRIDE), bias=False)
        self.bottleneck = nn.Conv2d(c.basis, c.channels, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c.channels, c.hidden, 1),
                nn.ReLU(),
                nn.Conv2d(c.hidden, c.hidden, (1, 3), padding=(0, d), dilation=(1, d)),
                nn.ReLU(),
                nn.Conv2d(c.hidden, c.channels, 1),
            )
            for d in c.dilations
        )
        self.mask = nn.Conv2d(c.channels, c.basis * len(c.sources), 1)
        self.decoder = nn.ConvTranspose2d(c.basis, c.audio_channels, (1, KERNEL), (1, STRIDE), bias=False)

    def forward(self, mix: Tensor) -> Tensor:
        batch, channels, length = mix.shape
        sources = len(self.config.sources)
        x = F.relu(self.encoder(F.pad(mix[:, :, None], (STRIDE // 2, STRIDE // 2))))
        y = self.bottleneck(x)
        for block in self.blocks:
            y = y + block(y)
        masks = torch.sigmoid(self.mask(y)).reshape(batch * sources, self.config.basis, 1, -1)
        masked = masks * x.repeat_interleave(sources, dim=0)
        stems = self.decoder(masked)[..., STRIDE // 2 : STRIDE // 2 + length]
        return stems.reshape(batch, sources, channels, length)


@torch.inference_mode()
def forward(network: Any, audio: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(audio[None]))[0].numpy()


def interface(network: Any, seconds: float | None = None) -> Interface:
    c = network.config
    segment = c.segment_samples if seconds is None else int(seconds * c.sample_rate) // STRIDE * STRIDE
    return separation_interface(list(c.sources), c.sample_rate, c.audio_channels, segment)


def process(network: Any, audio: np.ndarray) -> np.ndarray:
    statistics = Statistics()
    statistics.update(audio.T)
    stream = Separator(
        interface(network), lambda mix: [forward(network, mix[0][0])[None]], statistics.mean, statistics.std
    )
    return np.concatenate([stream.process(audio), stream.flush()], axis=-1)


@torch.no_grad()
def run_once(meta: Any, segment: int | None = None) -> float:
    c = meta.config
    length = segment or c.segment_samples
    meta(torch.empty(1, c.audio_channels, length, device="meta"))
    return length / c.sample_rate


def groups(network: Any) -> list[ChannelGroup]:
    found = [ChannelGroup("channels", network.bottleneck, "out")]
    for i, block in enumerate(network.blocks):
        found += [ChannelGroup(f"in{i}", block[0], "out"), ChannelGroup(f"out{i}", block[2], "out")]
    return found


def trace(network: Any) -> dict[str, Any]:
    audio = torch.randn(1, network.config.audio_channels, 800, generator=torch.Generator().manual_seed(0))
    return {"example_inputs": (audio,), "forward_fn": lambda net, inputs: net(*inputs), "verbose": False}


def clips(network: Any) -> list[Tensor]:
    return [clip[None] for clip in cut(samples.music(), network.config.segment_samples)]


def lower(network: Any, segment: int | None, target: Any) -> nn.Module:
    lowered = copy.deepcopy(network).eval().requires_grad_(False)
    lowered.encoder.keep_float = lowered.decoder.keep_float = "the basis is heard"
    return lowered


@contextmanager
def registered() -> Iterator[None]:
    """The architecture is known inside the block."""
    ARCHITECTURES["tasnet"] = Architecture("tasnet", "separate", TasNet, TasNetConfig, forward, process, run_once)
    PRUNING["tasnet"] = Pruning(groups, trace, clips, lambda net, clip: net(clip))
    LOWERING["tasnet"] = Lowering(interface, lower)
    try:
        yield
    finally:
        for registry in (ARCHITECTURES, PRUNING, LOWERING):
            del registry["tasnet"]
