"""HT Demucs, and a bag of them: songs in segments."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from edge.interface import separation_interface
from edge.models.architectures.record import Architecture
from edge.models.htdemucs import HTDemucs, HTDemucsConfig


@torch.inference_mode()
def forward(network: Any, audio: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(audio[None]))[0].numpy()


def process(network: Any, audio: np.ndarray) -> np.ndarray:
    """The apply loop of demucs, in the runtime's own streams."""
    from edge.runtime.streams import Separator, Statistics

    c = network.config
    names = [f"source{i}" for i in range(len(c.sources))]  # its own need not be names of files
    interface = separation_interface(names, c.samplerate, c.audio_channels, c.segment_samples)
    statistics = Statistics()
    statistics.update(audio.T)
    stream = Separator(interface, lambda mix: [forward(network, mix[0][0])[None]], statistics.mean, statistics.std)
    return np.concatenate([stream.process(audio), stream.flush()], axis=-1)


@torch.no_grad()
def run_once(meta: Any, segment: int | None = None) -> float:
    """The core, without the STFT pair."""
    network = cast(HTDemucs, meta)
    c = network.config
    length = segment or c.segment_samples
    frames = -(-length // (c.nfft // 4))
    wave = torch.empty(1, c.audio_channels, length, device="meta")
    network.core(wave, torch.empty(1, 2 * c.audio_channels, c.nfft // 2, frames, device="meta"))
    return length / c.samplerate


HTDEMUCS = Architecture("htdemucs", "separate", HTDemucs, HTDemucsConfig, forward, process, run_once, rescaled=True)
