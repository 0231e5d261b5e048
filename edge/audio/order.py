"""The order of channels in Ogg (Vorbis, Opus), which libsndfile leaves as it is, and the one of WAV, as all else."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np

# channels -> for each of WAV's its place in Ogg: left, centre, right, side or back pairs, back centre, low frequencies
_IN_OGG = {
    3: [0, 2, 1],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 5, 3, 4],
    7: [0, 2, 1, 6, 5, 3, 4],
    8: [0, 2, 1, 7, 5, 6, 3, 4],
}


def has_ogg_order(container: str, subtype: str, channels: int) -> bool:
    """Whether a file of libsndfile's format and subtype has its channels in Ogg's order."""
    return container == "OGG" and subtype in ("VORBIS", "OPUS") and channels in _IN_OGG


def as_wav(block: np.ndarray) -> np.ndarray:
    """(n, channels) in Ogg's order, in WAV's."""
    return block[:, _IN_OGG[block.shape[1]]]


def as_ogg(block: np.ndarray) -> np.ndarray:
    """(n, channels) in WAV's order, in Ogg's."""
    return np.ascontiguousarray(block[:, np.argsort(_IN_OGG[block.shape[1]])])


def has_speakers(path: Path, stream: BinaryIO | io.RawIOBase | None) -> bool:
    """Whether an Ogg file's channels belong to speakers: an Opus stream of another mapping family numbers them."""
    if stream is None:
        with open(path, "rb") as file:
            return has_speakers(path, file)
    head = stream.read(4096) or b""
    stream.seek(0)
    at = head.find(b"OpusHead")
    return at < 0 or head[at + 18 : at + 19] == b"\1"
