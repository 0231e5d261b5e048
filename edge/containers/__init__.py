"""What recordings does an audio file hold, and does it hold all that its headers declare?

Decoders believe headers: they clip silently where one is missing, early or wrapped. `examine` reads the structure
(all frame or page headers of MP3 and Ogg, the last frames of FLAC, the chunks of WAV and its relatives).
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from edge.containers import chunks, flac, mpeg, ogg
from edge.containers.layout import Layout, Part, Truncated
from edge.containers.spliced import SplicedFile
from edge.errors import InputError

__all__ = ["Layout", "Part", "SplicedFile", "examine"]


def examine(path: Path) -> Layout | None:
    """The recordings in `path`; None for a container that is not known here.

    Raises InputError where the file has less than its container declares.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(12)
            if head[:4] in (b"OggS", b"fLaC") or head[:3] == b"ID3" or _is_mpeg(head):
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    if head[:4] == b"OggS":
                        return ogg.layout(data)
                    return flac.layout(data) or mpeg.layout(data)
            return chunks.layout(file, size)
    except Truncated as error:
        raise InputError(f"{path}: truncated: {error}") from error


def _is_mpeg(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
