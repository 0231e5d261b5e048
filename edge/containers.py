"""Does an audio file hold all the bytes that its container declares? Decoders mostly clip silently.

`check_complete` reads headers (and the last page of an Ogg file) only. What a container does not declare, such as
the length of an MP3 without a Xing header, cannot be checked.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import BinaryIO

from edge.errors import InputError

# Streaming writers leave 0, 0xFFFFFFFF or a size just below 2 or 4 GiB in headers that they cannot rewrite.
_STREAMING = 0x7FFF_F000


def check_complete(path: Path) -> None:
    """Raise InputError where `path` is shorter than its container says (RIFF, RF64, AIFF, AU, W64, CAF, Ogg, MP3)."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        need = _declared_size(file, size)
    if need is not None and need > size:
        raise InputError(f"{path}: truncated: the header declares {need} bytes, the file has {size}")


def unfinished_wav(path: Path) -> dict[int, bytes] | None:
    """For a WAV whose writer never filled in the sizes (RIFF and data both 0): bytes to put at which offsets.

    None for every other file, one with a finished header and no samples among them.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE" or head[4:8] != bytes(4) or size > 0xFFFF_FFFF:
            return None
        at = 12
        while at + 8 < size:
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"data":
                return {4: struct.pack("<I", size - 8), at + 4: struct.pack("<I", size - at - 8)}
            at += 8 + length + length % 2
    return None


class OverlaidFile(io.FileIO):
    """A file read with some of its bytes replaced: `patches` maps offsets to bytes."""

    def __init__(self, path: Path, patches: dict[int, bytes]):
        super().__init__(path)
        self._patches = patches

    def readinto(self, buffer) -> int:  # type: ignore[override]
        start = self.tell()
        count = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        for offset, patch in self._patches.items():
            for i, byte in enumerate(patch, offset - start):
                if 0 <= i < count:
                    view[i] = byte
        return count


def _declared_size(file: BinaryIO, size: int) -> int | None:
    """Bytes that the file must have at least, or None where its container does not say."""
    head = file.read(40)
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX") and head[8:12] == b"WAVE":
        return _riff(file, size, "big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _chunks(file, size, 12, b"SSND", "big")
    if head[:4] == b".snd" and len(head) >= 12:
        offset, length = struct.unpack(">II", head[4:12])
        return None if length == 0xFFFFFFFF else offset + length
    if head[:4] == b"riff" and head[24:28] == b"wave" and len(head) >= 24:  # Sony Wave64
        return struct.unpack("<Q", head[16:24])[0]
    if head[:4] == b"caff":
        return _caf(file, size)
    if head[:4] == b"OggS":
        return _ogg(file, size)
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return _mp3(file, head)
    return None


def _riff(file: BinaryIO, size: int, order: str) -> int | None:
    file.seek(12)
    header = file.read(16)
    if header[:4] == b"ds64" and len(header) == 16:  # RF64: the 64-bit sizes of RIFF, then of data
        data_size = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        return _chunks(file, size, 12, b"data", order, data_size)
    return _chunks(file, size, 12, b"data", order)


def _chunks(file: BinaryIO, size: int, at: int, wanted: bytes, order: str, length: int | None = None) -> int | None:
    """End of the chunk `wanted`, `length` overriding its own 32-bit size."""
    layout = ">I" if order == "big" else "<I"
    while at + 8 <= size:
        file.seek(at)
        name, raw = struct.unpack("4s4s", file.read(8))
        declared = struct.unpack(layout, raw)[0]
        if name == wanted:
            if length is not None:
                return at + 8 + length
            return None if declared == 0 or declared >= _STREAMING else at + 8 + declared
        at += 8 + declared + declared % 2
    return None


def _caf(file: BinaryIO, size: int) -> int | None:
    at = 8
    while at + 12 <= size:
        file.seek(at)
        name, declared = struct.unpack(">4sq", file.read(12))
        if name == b"data" or declared < 0:
            return None if declared < 0 else at + 12 + declared
        at += 12 + declared
    return None


def _ogg(file: BinaryIO, size: int) -> int | None:
    """Ogg (RFC 3533): the last page must be whole and carry the end-of-stream flag."""
    start = max(0, size - 2 * 65536)  # a page has at most 65307 bytes
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return size + 1
    segments = tail[at + 26]
    table = tail[at + 27 : at + 27 + segments]
    end = start + at + 27 + segments + sum(table)
    ended = tail[at + 5] & 4
    return end if ended or end > size else size + 1


def _mp3(file: BinaryIO, head: bytes) -> int | None:
    """The byte count of the Xing/Info frame, where there is one."""
    start = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(256)
    for tag in (b"Xing", b"Info"):
        at = frame.find(tag)
        if 0 < at <= 40 and len(frame) >= at + 16:
            flags = struct.unpack(">I", frame[at + 4 : at + 8])[0]
            position = at + 8 + 4 * (flags & 1)
            if flags & 2:
                return start + struct.unpack(">I", frame[position : position + 4])[0]
    return None
