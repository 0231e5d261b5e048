"""Short real recordings that ship with the package: what exports calibrate on and are judged by (see README.md)."""

from pathlib import Path

import numpy as np
import soxr

from edge.audio import AudioReader

FOLDER = Path(__file__).parent
MUSIC = ("music_rendered.ogg", "music_real.ogg")
RATE = 44100  # of the music
STEMS = ("drums", "bass", "other", "vocals")


def read(name: str) -> tuple[np.ndarray, int]:
    """A sample as float32 (channels, frames) and its rate: "speech_noisy.flac", "song/mixture.flac", ..."""
    with AudioReader(FOLDER / name) as reader:
        return np.concatenate(list(reader.blocks())).T.copy(), reader.sample_rate


def song(rate: int = RATE, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A song: mixture (channels, frames) at `rate`, and stems (4, channels, frames) in the order of STEMS."""
    recordings = [read(f"song/{name}.flac")[0] for name in ("mixture", *STEMS)]
    mixture, *stems = (converted(recording, rate, channels) for recording in recordings)
    return mixture, np.stack(stems)


def music(rate: int = RATE, channels: int = 2) -> np.ndarray:
    """What separators are calibrated on, (channels, frames) at `rate`: the recordings of MUSIC at one level, in turn.

    Every source is heard in it: what makes a silent source would be taken for worthless.
    """
    parts = [converted(read(name)[0], rate, channels) for name in MUSIC]
    return np.concatenate([part / part.std() for part in parts], axis=1)


def converted(stereo: np.ndarray, rate: int, channels: int) -> np.ndarray:
    """Stereo (2, frames) at 44.1 kHz as (channels, frames) at `rate`; one channel is the mean of the two."""
    audio = stereo if channels == 2 else stereo.mean(axis=0, keepdims=True)
    if rate != RATE:
        audio = soxr.resample(np.ascontiguousarray(audio.T), RATE, rate, quality="VHQ").T
    return np.ascontiguousarray(audio)


def speech() -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean speech at 16 kHz, (frames,) each."""
    return read("speech_noisy.flac")[0][0], read("speech_clean.flac")[0][0]
