"""Containers made of chunks (WAV, RF64, Wave64, AIFF, CAF) and AU: where the samples really end.

A size is wrong where a recorder crashed (0), wrote it early, or has wrapped at 4 GiB. What follows the samples as
declared tells: a chain of chunks up to the end of the file is right, anything else is samples.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from edge.containers.layout import Layout, Part, Truncated
from edge.containers.spliced import Piece

# Streaming writers leave 0, 0xFFFFFFFF or a size just below 2 or 4 GiB in headers that they cannot rewrite.
_STREAMING = 0x7FFF_F000
_4_GIB = 1 << 32
_PADDING = 4096  # so many zeros at the end are no samples
_AIFF_BYTES = {b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1, b"ima4": 0, b"GSM ": 0}


@dataclass(frozen=True)
class _Shape:
    """How chunks lie in a container. prefix: bytes between a data chunk's header and the samples."""

    first: int
    header: struct.Struct  # name, size
    align: int
    data: bytes
    prefix: int = 0
    counted: bool = False  # the size counts the header too

    def chunks(self, file: BinaryIO, at: int, size: int) -> Iterator[tuple[bytes, int, int]]:
        """(name, offset of the header, bytes of the body) as they are declared, up to the end of the file."""
        head = self.header.size
        while at + head <= size:
            file.seek(at)
            name, length = self.header.unpack(file.read(head))
            if self.counted:
                length -= head
            yield name, at, length
            if length < 0:
                return
            at += head + length
            at += -at % self.align

    def is_chain(self, file: BinaryIO, at: int, size: int) -> bool:
        """Whether chunks, a tag behind them, and nothing else lie between `at` and the end."""
        if _is_tag(file, at, size):
            return True
        at += -at % self.align
        if size - at < self.header.size:
            return True  # not even one: a pad byte, say
        end = at
        for name, start, length in self.chunks(file, at, size):
            if _is_tag(file, start, size):
                return True
            end = start + self.header.size + length
            if length < 0 or end > size + self.align or not all(32 <= byte < 127 for byte in name[:4]):
                return False
        return size - end < self.header.size or _is_tag(file, end, size)


_WAV = _Shape(12, struct.Struct("<4sI"), 2, b"data")
_WAV_BIG = _Shape(12, struct.Struct(">4sI"), 2, b"data")
_AIFF = _Shape(12, struct.Struct(">4sI"), 2, b"SSND", prefix=8)
_W64 = _Shape(40, struct.Struct("<16sQ"), 8, b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", counted=True)
_CAF = _Shape(8, struct.Struct(">4sq"), 1, b"data", prefix=4)


def layout(file: BinaryIO, size: int) -> Layout | None:
    """The recording in a file of chunks (a joined WAV has several); None for other containers. Raises Truncated."""
    parts: list[Part] = []
    notes: list[str] = []
    start: int | None = 0
    honest = True
    while start is not None:
        file.seek(start)
        head = file.read(40)
        shape = _shape(head)
        if shape is None:
            if head[:4] == b".snd" and start == 0:
                return _au(head, size)
            return None
        found = _samples(file, head, shape, start, size)
        if found is None:
            return None
        data, declared, actual, following = found
        if actual != declared:
            honest = False
            if declared:
                notes.append(f"the header declares {declared} bytes of samples, all {actual} are read")
            elif declared == 0:
                notes.append(f"the header was never finished; all {actual} bytes of samples are read")
        if shape is _W64 and data + shape.header.size + actual < size:
            honest = False  # libsndfile reads all that follows
        parts.append(Part(_pieces(file, head, shape, start, data, actual, size)))
        if shape is _WAV and following is None:
            for first, length in _further(file, data + 8 + actual, size):
                parts.append(Part((_pieces(file, head, shape, start, data, length, size)[0], (first, first + length))))
        start = following
    if len(parts) > 1:
        honest = False
        notes.append(f"{len(parts)} recordings are joined in the file; all are read")
    return Layout(tuple(parts), tuple(notes), honest)


def _shape(head: bytes) -> _Shape | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _WAV
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        return _WAV_BIG
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return _W64
    return _CAF if head[:4] == b"caff" else None


def _samples(
    file: BinaryIO, head: bytes, shape: _Shape, start: int, size: int
) -> tuple[int, int | None, int, int | None] | None:
    """(offset of the data chunk, its declared (None: unknown) and actual bytes of samples, start of a further file)."""
    wide = None
    for name, at, declared in shape.chunks(file, start + shape.first, size):
        if name == b"ds64":
            file.seek(at + shape.header.size + 8)
            wide = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        if name != shape.data:
            continue
        first = at + shape.header.size + shape.prefix
        there = max(0, size - first)
        unsaid = False  # a stream whose writer said that it cannot know
        if wide is not None and declared >= _STREAMING:
            declared, unsaid = wide, wide >= 1 << 62
        elif shape is _CAF or shape is _W64:
            unsaid = not 0 <= declared < 1 << 62
        else:
            unsaid = declared >= _STREAMING and declared > there
        declared = max(0, declared - (0 if wide is not None else shape.prefix))
        if unsaid:
            return at, None, there, None
        if declared == 0:
            return at, 0, 0 if shape.is_chain(file, first, size) else there, None
        if declared > there:
            raise Truncated(f"the header declares {first + declared} bytes, the file has {size}")
        actual, following = _actual(file, shape, first, declared, size, head)
        return at, declared, actual, following
    return None


def _actual(file: BinaryIO, shape: _Shape, first: int, declared: int, size: int, head: bytes) -> tuple[int, int | None]:
    """Bytes of samples from `first` on, and where a further file starts."""
    end = first + declared
    for place in (end, end + end % 2):
        file.seek(place)
        following = file.read(12)
        if following[:4] == head[:4] and following[8:12] == head[8:12]:
            return declared, place
    while end <= size:
        if shape.is_chain(file, end, size):
            return end - first, None
        end += _4_GIB
    end = first + declared
    file.seek(end)
    rest = file.read(_PADDING + 1)
    if len(rest) <= _PADDING and not any(rest):
        return declared, None
    return size - first, None


def _further(file: BinaryIO, end: int, size: int) -> list[tuple[int, int]]:
    """Offset and bytes of the samples in a WAV's further data chunks."""
    if not _WAV.is_chain(file, end, size):
        return []
    chunks = list(_WAV.chunks(file, end + end % 2, size))
    return [(at + 8, length) for name, at, length in chunks if name == b"data" and 0 < length <= size - at - 8]


def _pieces(
    file: BinaryIO, head: bytes, shape: _Shape, start: int, data: int, actual: int, size: int
) -> tuple[Piece, ...]:
    """The container with its sizes put right: its chunks before the samples, then the samples."""
    first = data + shape.header.size + shape.prefix
    file.seek(start)
    front = bytearray(file.read(first - start))
    at = data - start
    total = len(front) + actual
    if shape is _WAV and total >= _4_GIB:
        return _rf64(file, start, size, actual), (first, first + actual)
    if shape is _CAF:
        struct.pack_into(">q", front, at + 4, actual + shape.prefix)
    elif shape is _W64:
        struct.pack_into("<Q", front, 16, total)
        struct.pack_into("<Q", front, at + 16, actual + shape.header.size)
    else:
        if total >= _4_GIB:
            raise Truncated(f"the header cannot tell of the {total} bytes that the file has; convert it to RF64 or W64")
        order = "<" if shape is _WAV else ">"
        front[:4] = front[:4] if shape is not _WAV else b"RIFF"
        struct.pack_into(f"{order}I", front, 4, total - 8)
        struct.pack_into(f"{order}I", front, at + 4, actual + shape.prefix)
        _put_count(file, front, shape, start, actual, size)
    return bytes(front), (first, first + actual)


def _put_count(file: BinaryIO, front: bytearray, shape: _Shape, start: int, actual: int, size: int) -> None:
    """What else counts samples: AIFF's COMM; a WAV's ds64 and fact are taken away."""
    for name, at, _ in shape.chunks(file, start + shape.first, size):
        at -= start
        if at + 8 >= len(front):
            return
        if name in (b"fact", b"ds64"):
            front[at : at + 4] = b"JUNK"
        if name == b"COMM":
            channels, _, bits = struct.unpack_from(">hIh", front, at + 8)
            width = (
                _AIFF_BYTES.get(bytes(front[at + 26 : at + 30]), -(-bits // 8))
                if front[8:12] == b"AIFC"
                else -(-bits // 8)
            )
            if width and channels > 0:
                struct.pack_into(">I", front, at + 10, actual // (width * channels))


def _rf64(file: BinaryIO, start: int, size: int, actual: int) -> bytes:
    """A header for more than 4 GiB."""
    body = b""
    for name, at, length in _WAV.chunks(file, start + 12, size):
        if name == b"fmt ":
            file.seek(at)
            body = file.read(8 + length)
            break
    total = 12 + 36 + len(body) + 8 + actual
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, total - 8, actual, 0, 0)
    return struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE") + sizes + body + b"data\xff\xff\xff\xff"


def _au(head: bytes, size: int) -> Layout | None:
    if len(head) < 24:
        return None
    offset, declared = struct.unpack(">II", head[4:12])
    there = size - offset
    if declared >= _STREAMING and declared > there:
        return Layout((), honest=True)
    if declared > there:
        raise Truncated(f"the header declares {offset + declared} bytes, the file has {size}")
    if there - declared < 2 or there <= 0:
        return Layout((), honest=True)
    note = f"the header declares {declared} bytes of samples, all {there} are read"
    pieces: tuple[Piece, ...] = ((0, 8), b"\xff\xff\xff\xff", (12, size))
    return Layout((Part(pieces),), (note,))


def _is_tag(file: BinaryIO, at: int, size: int) -> bool:
    file.seek(at)
    head = file.read(10)
    return head[:3] == b"ID3" or head[:8] == b"APETAGEX" or (head[:3] == b"TAG" and size - at == 128)
