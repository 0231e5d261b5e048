"""Short real recordings that ship with the package: what exports calibrate on and are judged by (see README.md)."""

from pathlib import Path

import numpy as np

from edge.audio import AudioReader

FOLDER = Path(__file__).parent
STEMS = ("drums", "bass", "other", "vocals")


def read(name: str) -> tuple[np.ndarray, int]:
    """A sample as float32 (channels, frames) and its rate: "speech_noisy.flac", "song/mixture.flac", ..."""
    with AudioReader(FOLDER / name) as reader:
        return np.concatenate(list(reader.blocks())).T.copy(), reader.sample_rate


def song() -> tuple[np.ndarray, np.ndarray]:
    """A song at 44.1 kHz: mixture (2, frames), and stems (4, 2, frames) in the order of STEMS."""
    return read("song/mixture.flac")[0], np.stack([read(f"song/{stem}.flac")[0] for stem in STEMS])


def speech() -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean speech at 16 kHz, (frames,) each."""
    return read("speech_noisy.flac")[0][0], read("speech_clean.flac")[0][0]
