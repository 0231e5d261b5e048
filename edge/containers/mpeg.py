"""MPEG audio (MP3, MP2): every frame is counted, since a missing or early Xing header makes decoders stop too soon."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

from edge.containers.layout import Layout, Part, Truncated
from edge.containers.spliced import Piece

# kbit/s by (MPEG 1?, layer) and by bitrate index
_BITRATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_DELAY = 529  # samples of a Layer III decoder, which mpg123 leaves away after a Xing header, and ffmpeg without one not
_SEARCH = 1 << 20  # bytes of something else that may lie between two frames


@dataclass(frozen=True)
class _Header:
    """What four bytes say: `length` in bytes, `samples` of each channel, and what stays alike in one recording."""

    length: int
    samples: int
    kind: tuple[int, int, int, bool]  # version, layer, Hz, mono
    side: int  # bytes of side information, after which a Xing header stands

    @classmethod
    def parse(cls, data: mmap | bytes, at: int) -> _Header | None:
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
            return None
        second, third, fourth = data[at + 1], data[at + 2], data[at + 3]
        version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
        rate_index, bitrate_index = third >> 2 & 3, third >> 4
        if version == 1 or layer == 4 or rate_index == 3 or bitrate_index in (0, 15):
            return None
        first, rate = version == 3, _RATES[version][rate_index]
        bits = 1000 * _BITRATES[first, layer if first or layer == 1 else 2][bitrate_index - 1]
        padding, mono = third >> 1 & 1, fourth >> 6 == 3
        if layer == 1:
            length, samples = 4 * (12 * bits // rate + padding), 384
        else:
            samples = 576 if layer == 3 and not first else 1152
            length = samples // 8 * bits // rate + padding
        side = (17 if mono else 32) if first else (9 if mono else 17)
        return cls(length, samples, (version, layer, rate, mono), side)


@dataclass
class _Run:
    """One recording as it is found: the stretches that hold its frames, and what its Xing header declares."""

    kind: tuple[int, int, int, bool]
    samples: int = 0  # of one frame
    frames: int = 0  # without the Xing frame
    stretches: list[tuple[int, int]] = field(default_factory=list)
    xing: int | None = None  # offset of the Xing frame's four letters
    cut: bool = False

    def add(self, at: int, end: int) -> None:
        if self.stretches and self.stretches[-1][1] == at:
            self.stretches[-1] = (self.stretches[-1][0], end)
        else:
            self.stretches.append((at, end))


def layout(data: mmap) -> Layout | None:
    """The recordings in an MPEG file; None where it is none. Raises Truncated."""
    runs = list(_runs(data))
    if not runs:
        return None
    notes, parts, honest = [], [], len(runs) == 1
    for run in runs:
        declared = _declared_frames(data, run)
        last = run is runs[-1]
        if declared and (run.frames < declared - 1 or (run.cut and run.frames < declared)):
            raise Truncated(f"the header declares {declared} MPEG frames, the file has {run.frames}")
        alike = declared is not None and run.frames <= declared + 1
        if not alike:
            if declared:
                notes.append(f"the header declares {declared} MPEG frames, all {run.frames} are read")
            honest = False
        if run.cut and last:
            notes.append("the last frame is incomplete: the recording may have been cut off there")
        skip = run.samples - _DELAY if not alike and run.xing is None and run.kind[1] == 3 else 0
        parts.append(Part(_pieces(data, run, alike), run.frames * run.samples, 2 * run.samples, skip))
    if len(runs) > 1:
        notes.append(f"{len(runs)} recordings are joined in the file; all are read")
    return Layout(tuple(parts), tuple(notes), honest)


def _runs(data: mmap) -> Iterator[_Run]:
    at: int | None = 0
    run: _Run | None = None
    while at is not None and at < len(data):
        header = _Header.parse(data, at)
        if header is None or (run is not None and header.kind != run.kind and not _confirmed(data, at, header)):
            at = _next_frame(data, at)
            continue
        xing = _xing_at(data, at, header)
        if run is None or header.kind != run.kind or (xing is not None and run.frames):
            if run is not None:
                yield run
            run = _Run(header.kind, header.samples)
        end = at + header.length
        if end > len(data):
            run.cut = True
            break
        run.add(at, end)
        if xing is not None:
            run.xing = xing
        else:
            run.frames += 1
        at = end
    if run is not None and run.frames:
        yield run


def _next_frame(data: mmap, at: int) -> int | None:
    """Where the next frame starts after a tag, or after something that is none; None where there is none."""
    if data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        return at + tag_length(data[at : at + 10])
    if data[at : at + 3] == b"TAG" and at + 128 == len(data):
        return None
    limit = min(len(data), at + _SEARCH)
    while (at := data.find(b"\xff", at + 1, limit)) >= 0:
        header = _Header.parse(data, at)
        if header is not None and _confirmed(data, at, header):
            return at
    return None


def _confirmed(data: mmap, at: int, header: _Header) -> bool:
    """Whether the two frames that would follow are there and alike (or the file ends)."""
    for _ in range(2):
        at += header.length
        if at >= len(data) - 4:
            return True
        following = _Header.parse(data, at)
        if following is None:
            return data[at : at + 3] in (b"TAG", b"ID3", b"APE")
        if following.kind != header.kind:
            return False
        header = following
    return True


def _xing_at(data: mmap, at: int, header: _Header) -> int | None:
    place = at + 4 + header.side
    return place if header.kind[1] == 3 and data[place : place + 4] in (b"Xing", b"Info") else None


def _declared_frames(data: mmap, run: _Run) -> int | None:
    if run.xing is None or not data[run.xing + 7] & 1:
        return None
    return struct.unpack(">I", data[run.xing + 8 : run.xing + 12])[0]


def _pieces(data: mmap, run: _Run, alike: bool) -> tuple[Piece, ...]:
    """The frames, led by a Xing frame with their true count."""
    stretches = tuple(run.stretches)
    if alike or run.kind[1] != 3:
        return stretches
    if run.xing is not None and data[run.xing + 7] & 1:
        start, end = stretches[0]
        return (start, run.xing + 8), struct.pack(">I", run.frames), (run.xing + 12, end), *stretches[1:]
    # the second one is taken for an audio frame, of silence
    return _xing_frame(data, run, run.frames + 1), _xing_frame(data, run, 0), *stretches


def _xing_frame(data: mmap, run: _Run, frames: int) -> bytes:
    start = run.stretches[0][0]
    for bitrate in range(1, 15):  # the first that has room for the header
        head = bytes([0xFF, data[start + 1] | 1, data[start + 2] & 0x0C | bitrate << 4, data[start + 3]])
        header = _Header.parse(head, 0)
        assert header is not None
        body = bytes(header.side) + b"Xing" + struct.pack(">II", 1, frames)
        if header.length >= 4 + len(body) + 100:
            return (head + body).ljust(header.length, b"\0")
    raise AssertionError("the largest frame has room for the header")


def tag_length(head: bytes) -> int:
    """Bytes of an ID3v2 tag by its first ten."""
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if head[5] & 0x10 else 0)
