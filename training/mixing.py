"""Pairs of noisy speech and its target for validation, and songs remixed from stems (see `speech_mixing`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr
from scipy.signal import fftconvolve

from edge.errors import InputError
from edge.training.shards import SCALE, Item, open_shard, read_manifest

QUIET_POWER = 1e-6


def mix_at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """`noise` (N,) scaled so that the power ratio speech / noise over the whole clip is `snr_db`."""
    power = np.mean(np.square(noise, dtype=np.float64))
    wanted = np.mean(np.square(speech, dtype=np.float64)) * 10 ** (-snr_db / 10)
    return noise * np.float32(np.sqrt(wanted / max(power, 1e-12)))


class SpeechMixer:
    """Draws (noisy, clean) pairs of one split of a speech data folder: recorded noise, nothing else done to them.

    Args:
        folder: written by `edge-train data speech`.
        split: "train", "validation" or "test".
        samples: length of a clip at 16 kHz.
        rooms: impulse responses (R, 2, N): whole room and its direct path; or None.
    """

    def __init__(self, folder: Path, split: str, samples: int, rooms: np.ndarray | None = None):
        items = [i for i in read_manifest(folder) if i.split == split]
        self.samples, self.rooms = samples, rooms
        self.voices = _open(folder, [i for i in items if i.kind == "speech"], samples)
        self.noises = _open(folder, [i for i in items if i.kind == "noise"], 1)
        if not self.voices or not self.noises:
            raise InputError(f"{folder} has no speech or no noise for {split}")
        self._voice_odds, self._noise_odds = _odds(self.voices), _odds(self.noises)

    def voice(self, rng: np.random.Generator) -> np.ndarray:
        """float32 (samples,) of one speaker."""
        return _crop(self.voices[rng.choice(len(self.voices), p=self._voice_odds)][1], self.samples, rng)

    def recorded_noise(self, rng: np.random.Generator) -> np.ndarray:
        """float32 (samples,) of one noise group; short ones repeat."""
        while True:
            audio = self.noises[rng.choice(len(self.noises), p=self._noise_odds)][1]
            parts, total = [], 0
            while total < self.samples:
                parts.append(_crop(audio, min(len(audio), self.samples - total), rng))
                total += len(parts[-1])
            noise = np.concatenate(parts)
            if np.mean(noise**2) > QUIET_POWER:  # a pause between events would be amplified, or be no noise at all
                return noise

    def _in_room(self, audio: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """The reverberant sound and its direct path, of the input's length."""
        assert self.rooms is not None
        responses = self.rooms[rng.integers(len(self.rooms))].astype(np.float32)
        return [fftconvolve(audio, response)[: len(audio)] for response in responses]

    def in_room(self, rng: np.random.Generator, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
        """As `at_snr`, in one of the rooms; clean is the direct path."""
        noisy, clean = self._in_room(self.voice(rng), rng)
        return (noisy + mix_at_snr(noisy, self.recorded_noise(rng), snr_db)).astype(np.float32), clean

    def at_snr(self, rng: np.random.Generator, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
        """Recorded noise at `snr_db`."""
        clean = self.voice(rng)
        return clean + mix_at_snr(clean, self.recorded_noise(rng), snr_db), clean

    def low_passed(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A clean voice without what lies above 4 kHz."""
        clean = self.voice(rng)
        return without_upper_band(clean), clean


def without_upper_band(audio: np.ndarray) -> np.ndarray:
    """(n,) at 16 kHz resampled to 8 kHz and back: nothing above 4 kHz is left."""
    return np.resize(soxr.resample(soxr.resample(audio, 16000, 8000), 8000, 16000), len(audio))


class SongMixer:
    """Draws stems (4, 2, samples) of one split of a music data folder; their sum is the mixture."""

    def __init__(self, folder: Path, split: str, samples: int):
        self.samples = samples
        self.songs = _open(folder, [i for i in read_manifest(folder) if i.split == split], samples)
        if not self.songs:
            raise InputError(f"{folder} has no songs of {samples / 44100:g} s or more for {split}")

    def stems(self, rng: np.random.Generator) -> np.ndarray:
        """Augmented float32 stems: half of the time each from another song; gains, polarity, sides swapped."""
        song = rng.integers(len(self.songs))
        remix = rng.random() < 0.5
        out = np.empty((4, 2, self.samples), np.float32)
        start: int | None = None
        for k in range(4):
            audio = self.songs[rng.integers(len(self.songs)) if remix else song][1][k]
            if remix or start is None:
                start = int(rng.integers(audio.shape[-1] - self.samples + 1))
            part = audio[:, start : start + self.samples].astype(np.float32) / SCALE
            gain = 10 ** (rng.uniform(-6, 4) / 20) * rng.choice([-1.0, 1.0])
            out[k] = part[:: rng.choice([-1, 1])] * np.float32(gain)
            if rng.random() < 0.04:
                out[k] = 0
        return out


def _open(folder: Path, items: list[Item], least: int) -> list[tuple[Item, np.ndarray]]:
    opened = [(item, open_shard(folder, item)) for item in items]
    return [(item, audio) for item, audio in opened if audio.shape[-1] >= least]


def _odds(opened: list[tuple[Item, np.ndarray]]) -> np.ndarray:
    """As `Corpus` draws them."""
    weights = np.array([item.weight * np.sqrt(len(audio)) for item, audio in opened])
    return weights / weights.sum()


def _crop(audio: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(len(audio) - samples + 1))
    return audio[start : start + samples].astype(np.float32) / np.float32(SCALE)


def deviation(mix: np.ndarray) -> np.ndarray:
    """Of the mono mixes of float32 (B, C, n), by which what a separator trains on is divided: (B, 1, 1)."""
    return mix.mean(axis=1).std(axis=-1)[:, None, None] + np.float32(1e-4)
