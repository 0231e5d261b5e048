"""Training examples mixed on the fly: noisy speech with its clean target, and songs remixed from stems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr
from scipy.signal import butter, fftconvolve, sosfilt, sosfiltfilt

from edge.errors import InputError
from edge.training.shards import SCALE, Item, open_shard, read_manifest

QUIET_POWER = 1e-6
NARROW_SHARE = 0.35  # of the training pairs have lost their upper band


def mix_at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """`noise` (N,) scaled so that the power ratio speech / noise over the whole clip is `snr_db`."""
    power = np.mean(np.square(noise, dtype=np.float64))
    wanted = np.mean(np.square(speech, dtype=np.float64)) * 10 ** (-snr_db / 10)
    return noise * np.float32(np.sqrt(wanted / max(power, 1e-12)))


class SpeechMixer:
    """Draws (noisy, clean) pairs of one split of a speech data folder.

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
        self._voice_odds = _odds([len(a) for _, a in self.voices])
        self._noise_odds = _odds([len(a) for _, a in self.noises])

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

    def noise(self, rng: np.random.Generator) -> np.ndarray:
        """Recorded noise (60 %), babble of 3 to 8 voices, coloured noise with hum or clicks, or a sum of two."""
        draw = rng.random()
        if draw < 0.6:
            return self.recorded_noise(rng)
        if draw < 0.72:
            return np.sum([self.voice(rng) for _ in range(rng.integers(3, 9))], axis=0)
        made = synthetic_noise(self.samples, rng)
        if draw < 0.88:
            return made
        other = self.recorded_noise(rng)
        return other + mix_at_snr(other, made, rng.uniform(-10, 10))

    def pair(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Augmented training pair: (noisy, clean), float32 (samples,) each; clean is the direct path alone."""
        clean, noise = _varied(self.voice, self.samples, rng), self.noise(rng)
        noisy = clean
        if self.rooms is not None and rng.random() < 0.35:
            noisy, clean = self._in_room(clean, rng)
            noise = self._in_room(noise, rng)[0] if rng.random() < 0.3 else noise
        narrow = rng.random() < NARROW_SHARE
        snr = 50.0 if rng.random() < (0.5 if narrow else 0.05) else rng.uniform(-5, 22)
        noisy = noisy + mix_at_snr(noisy, noise, snr)
        gain = 10 ** (rng.uniform(-38, -14) / 20) / (np.sqrt(np.mean(noisy**2)) + 1e-6)
        peak = max(np.abs(noisy).max(), np.abs(clean).max()) * gain
        gain *= min(1.0, 0.99 / peak)
        noisy, clean = noisy * gain, clean * gain
        if rng.random() < 0.04:  # digital silence, as before a call or in a gated stream
            start = int(rng.integers(self.samples))
            noisy, clean = (np.where(np.arange(self.samples) < start, x, 0) for x in (noisy, clean))
        noisy = clip(noisy, rng) if rng.random() < 0.08 else noisy
        return (narrow_band(noisy, rng) if narrow else noisy).astype(np.float32), clean.astype(np.float32)

    def _in_room(self, audio: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """The reverberant sound and its direct path, of the input's length."""
        assert self.rooms is not None
        responses = self.rooms[rng.integers(len(self.rooms))].astype(np.float32)
        return [fftconvolve(audio, response)[: len(audio)] for response in responses]

    def in_room(self, rng: np.random.Generator, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
        """Evaluation pair: as `at_snr`, in one of the rooms; clean is the direct path."""
        noisy, clean = self._in_room(self.voice(rng), rng)
        return (noisy + mix_at_snr(noisy, self.recorded_noise(rng), snr_db)).astype(np.float32), clean

    def at_snr(self, rng: np.random.Generator, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
        """Evaluation pair: recorded noise at `snr_db`, nothing else done to it."""
        clean = self.voice(rng)
        return clean + mix_at_snr(clean, self.recorded_noise(rng), snr_db), clean

    def low_passed(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Evaluation pair: a clean voice without what lies above 4 kHz."""
        clean = self.voice(rng)
        return without_upper_band(clean), clean


def _varied(draw, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A voice played up to 12 % slower or faster, half of the time: pitch and formants of other speakers."""
    voice = draw(rng)
    if rng.random() < 0.5:
        return voice
    stretched = soxr.resample(voice, 16000, 16000 * float(rng.uniform(0.88, 1.12)), quality="LQ")
    return np.resize(stretched, samples).astype(np.float32)  # repeats its beginning where it became shorter


def without_upper_band(audio: np.ndarray) -> np.ndarray:
    """(n,) at 16 kHz resampled to 8 kHz and back: nothing above 4 kHz is left."""
    return np.resize(soxr.resample(soxr.resample(audio, 16000, 8000), 8000, 16000), len(audio))


def clip(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hard clipping at 25 to 70 % of the peak."""
    limit = np.abs(audio).max() * rng.uniform(0.25, 0.7)
    return np.clip(audio, -limit, limit)


def narrow_band(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Low-passed at 3 to 7 kHz (with or without a filter's delay), at 4 kHz by resampling, or telephone coding (G.711).

    A filter's delay is part of the target's phase to undo; most that limit a band (codecs, resamplers) have none.
    """
    draw = rng.random()
    if draw < 0.6:
        lowpass = sosfiltfilt if draw < 0.4 else sosfilt
        cutoff = 4000.0 if rng.random() < 0.3 else float(rng.uniform(3000, 7000))
        return lowpass(butter(rng.integers(4, 13), cutoff, fs=16000, output="sos"), audio)
    narrow = soxr.resample(audio.astype(np.float32), 16000, 8000, quality="LQ" if draw < 0.8 else "HQ")
    if draw > 0.85:
        narrow = np.clip(narrow, -1, 1)
        companded = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
        narrow = np.sign(companded) * np.expm1(np.abs(companded) * np.log(256)) / 255
    return np.resize(soxr.resample(narrow, 8000, 16000, quality="LQ"), len(audio))


def synthetic_noise(samples: int, rng: np.random.Generator, rate: int = 16000) -> np.ndarray:
    """Noise with a spectral slope of 0 to -2 (white to brown), at times with mains hum, clicks or a slow swell."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / rate), 30.0)
    out = np.fft.irfft(spectrum * frequency ** rng.uniform(-1, 0), samples)
    out /= np.std(out) + 1e-9
    time = np.arange(samples) / rate
    if rng.random() < 0.3:
        base = rng.choice([50.0, 60.0]) * rng.uniform(0.99, 1.01)
        for harmonic in range(1, 12):
            out += rng.uniform(0, 1.5) / harmonic * np.sin(2 * np.pi * (base * harmonic * time + rng.random()))
    if rng.random() < 0.3:
        clicks = rng.random(samples) < rng.uniform(2, 30) / rate
        out += fftconvolve(clicks * rng.normal(0, 15, samples), np.exp(-np.arange(160) / rng.uniform(2, 40)))[:samples]
    if rng.random() < 0.4:
        out *= 1 + 0.9 * np.sin(2 * np.pi * (rng.uniform(0.1, 3) * time + rng.random()))
    return out.astype(np.float32)


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


def _odds(lengths: list[int]) -> np.ndarray:
    """Chances that grow with the square root of the length: small voices are heard, large ones not worn out."""
    weights = np.sqrt(np.array(lengths, dtype=np.float64))
    return weights / weights.sum()


def _crop(audio: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(len(audio) - samples + 1))
    return audio[start : start + samples].astype(np.float32) / np.float32(SCALE)
