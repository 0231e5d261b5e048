"""FLAC (RFC 9639): the last frame tells the true length, whatever the header says."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from mmap import mmap

from edge.containers.layout import Layout, Part, Truncated
from edge.containers.mpeg import tag_length

_TAIL = 1 << 19  # bytes searched for the last frames; one has 24 KB at 16 bit, rarely more
_STREAMINFO = 8  # offset of its body


@dataclass(frozen=True)
class _Frame:
    number: int  # of the frame, or of its first sample where `variable`
    samples: int
    variable: bool


def layout(data: mmap) -> Layout | None:
    """The recordings in a FLAC file; None where it starts with something else. Raises Truncated."""
    start = tag_length(data[:10]) if data[:3] == b"ID3" else 0
    if data[start : start + 4] != b"fLaC":
        return None
    starts = [start]
    while (start := data.find(b"fLaC", start + 4)) >= 0:
        if data[start + 4] & 0x7F == 0 and data[start + 5 : start + 8] == b"\0\0\x22":
            starts.append(start)
    notes, parts, honest = [], [], len(starts) == 1
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        body = start + _STREAMINFO
        declared = int.from_bytes(data[body + 10 : body + 18], "big") & (1 << 36) - 1
        found = _frames(data, start, end)
        if found is None or found == declared:
            parts.append(Part(((start, end),)))
            continue
        if found < declared:
            raise Truncated(f"the header declares {declared} samples, the last frame ends at {found}")
        if declared:
            notes.append(f"the header declares {declared} samples, all {found} are read")
        honest = False
        packed = int.from_bytes(data[body + 10 : body + 18], "big") >> 36 << 36 | found
        parts.append(Part(((start, body + 10), struct.pack(">Q", packed), (body + 18, end))))
    if len(parts) > 1:
        notes.append(f"{len(parts)} recordings are joined in the file; all are read")
    return Layout(tuple(parts), tuple(notes), honest)


def _frames(data: mmap, start: int, end: int) -> int | None:
    """Where the last frame ends, in samples; None where no two frames in a row are found."""
    block = int.from_bytes(data[start + _STREAMINFO : start + _STREAMINFO + 2], "big")
    last = None
    known: set[int] = {0}  # numbers that the next frame may have
    at = max(start, end - _TAIL) - 1
    while 0 <= (at := data.find(b"\xff", at + 1, end)):
        frame = _frame(data[at : at + 16], block)
        if frame is None:
            continue
        if frame.number in known:
            last = frame
        known.add(frame.number + (frame.samples if frame.variable else 1))
    if last is None:
        return None
    return (last.number if last.variable else last.number * block) + last.samples


def _frame(head: bytes, block: int) -> _Frame | None:
    """A frame header, found right by its CRC-8."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    size, rate = head[2] >> 4, head[2] & 0x0F
    if size == 0 or rate == 15 or head[3] & 1:
        return None
    lead = 8 - (head[4] ^ 0xFF).bit_length()  # ones in front: a number as in UTF-8, of up to 36 bits
    if lead == 1 or lead > 7:
        return None
    count = max(1, lead)
    number = head[4] & (0x7F >> lead)
    for byte in head[5 : 4 + count]:
        if byte >> 6 != 2:
            return None
        number = number << 6 | byte & 0x3F
    at = 4 + count
    if size == 1:
        samples = 192
    elif size <= 5:
        samples = 576 << size - 2
    elif size <= 7:
        width = size - 5
        samples = int.from_bytes(head[at : at + width], "big") + 1
        at += width
    else:
        samples = 256 << size - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    variable = bool(head[1] & 1)
    return _Frame(number, samples, variable) if variable or samples <= block else None


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc
