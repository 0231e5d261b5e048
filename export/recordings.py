"""The real audio that an export is made and checked with, by task; never what its quality is measured on."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge import samples
from edge.audio import Resampler
from edge.interface import Interface
from edge.runtime.streams import Statistics

CALIBRATION_SEGMENTS = 8
GOLDEN_SECONDS = 0.35
PARITY_HOPS = 100


def song_statistics(mix: np.ndarray) -> tuple[float, float]:
    """Mean of the mono mix of (channels, n), and its deviation plus 1e-8: the whole-track normalisation of demucs."""
    statistics = Statistics()
    statistics.update(mix.T)
    return statistics.mean, statistics.std + 1e-8


def calibration_audio(interface: Interface, seed: int) -> list[np.ndarray]:
    """A separator's first input, (1, channels, segment) each; nothing for an enhancer, which quantizes dynamically."""
    if interface.segment is None:
        return []
    audio, segment = _music(interface), interface.segment
    starts = np.linspace(0, audio.shape[1] - segment, CALIBRATION_SEGMENTS).astype(int)
    gains = np.random.default_rng(seed).uniform(0.5, 1.5, len(starts))
    clips = [audio[None, :, s : s + segment] * g for s, g in zip(starts, gains, strict=True)]
    return [np.ascontiguousarray(clip, np.float32) for clip in clips]


def calibration_record(interface: Interface, seed: int) -> dict[str, Any]:
    """For the manifest: what `calibration_audio` gave."""
    assert interface.segment is not None
    seconds = interface.segment / interface.sample_rate
    return dict(recordings=[*samples.MUSIC], segments=CALIBRATION_SEGMENTS, segment_seconds=seconds, seed=seed)


def parity_audio(interface: Interface) -> np.ndarray:
    """What a graph is compared with its network on: (channels, segment) that no range was taken from, or (n,)."""
    if interface.segment is None:
        return speech(interface.sample_rate)[0][: PARITY_HOPS * interface.hop]
    audio, segment = _music(interface), interface.segment
    start = (audio.shape[1] - segment) // (2 * (CALIBRATION_SEGMENTS - 1))  # between two of the calibration's
    return np.ascontiguousarray(audio[:, start : start + segment], np.float32)


def golden_audio(interface: Interface, seed: int) -> np.ndarray:
    """A device's short self-check: (channels, n), or (n,) of whole hops."""
    if interface.segment is not None:
        return calibration_audio(interface, seed)[0][0][:, : int(GOLDEN_SECONDS * interface.sample_rate)]
    hops = int(2 * GOLDEN_SECONDS * interface.sample_rate) // interface.hop
    return speech(interface.sample_rate)[0][: hops * interface.hop]


def speech(rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The sample of noisy and clean speech at `rate` Hz, (n,) each."""
    return _resampled(samples.speech()[0], rate), _resampled(samples.speech()[1], rate)


def _resampled(audio: np.ndarray, rate: int) -> np.ndarray:
    resampler = Resampler(16000, rate, 1)
    return np.concatenate([resampler.process(audio[:, None]), resampler.flush()])[:, 0]


def _music(interface: Interface) -> np.ndarray:
    """Normalised, at least a segment."""
    assert interface.segment is not None
    audio = samples.music(interface.sample_rate, interface.channels)
    mean, std = song_statistics(audio)
    audio = (audio - mean) / std
    if audio.shape[1] < interface.segment:
        audio = np.tile(audio, -(-interface.segment // audio.shape[1]))
    return audio
