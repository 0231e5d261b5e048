"""Short real recordings that ship with the package: what exports calibrate on and are judged by (see README.md)."""

from pathlib import Path

import numpy as np

from edge.audio import AudioReader

FOLDER = Path(__file__).parent
MUSIC = ("music_rendered.ogg", "music_real.ogg")
STEMS = ("drums", "bass", "other", "vocals")


def read(name: str) -> tuple[np.ndarray, int]:
    """A sample as float32 (channels, frames) and its rate: "speech_noisy.flac", "song/mixture.flac", ..."""
    with AudioReader(FOLDER / name) as reader:
        return np.concatenate(list(reader.blocks())).T.copy(), reader.sample_rate


def song() -> tuple[np.ndarray, np.ndarray]:
    """A song at 44.1 kHz: mixture (2, frames), and stems (4, 2, frames) in the order of STEMS."""
    return read("song/mixture.flac")[0], np.stack([read(f"song/{stem}.flac")[0] for stem in STEMS])


def music() -> np.ndarray:
    """What separators are calibrated on: (2, frames) at 44.1 kHz, the recordings of MUSIC at one level, one by one.

    Every source is heard in it: what makes a silent source would be taken for worthless.
    """
    parts = [read(name)[0] for name in MUSIC]
    return np.concatenate([part / part.std() for part in parts], axis=1)


def speech() -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean speech at 16 kHz, (frames,) each."""
    return read("speech_noisy.flac")[0][0], read("speech_clean.flac")[0][0]
