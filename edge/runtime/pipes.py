"""Samples on pipes: WAV or raw, in and out, as they come."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge.audio import MAX_RATE, MIN_RATE
from edge.audio.reader import MAX_PEAK, integer_scale
from edge.errors import InputError

READ_BYTES = 65536
_LOUD_SHARE = 0.1  # of samples far above full scale, from which on they are integers and no faults
_DESCRIPTORS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")
_MAX_CHUNK = 1 << 24  # bytes of a chunk before the samples
_UNKNOWN = 0xFFFFFFFF  # length of a WAV that is written to a pipe, as ffmpeg writes it
_STREAMING = 0x7FFFF000  # lengths from here on mean the same
_FLOAT, _PCM, _EXTENSIBLE = 3, 1, 0xFFFE

RAW_TYPES = {"f32le": "<f4", "s16le": "<i2"}


@dataclass(frozen=True)
class PipeFormat:
    """Samples on a pipe: numpy dtype or "s24", Hz, channels; `length` in bytes, None to the end of the stream."""

    kind: str
    rate: int
    channels: int
    length: int | None = None

    @property
    def frame_bytes(self) -> int:
        return self.channels * (3 if self.kind == "s24" else np.dtype(self.kind).itemsize)


class PipeReader:
    """Samples from a stream that cannot seek, as an AudioReader gives them; `name` is that of messages.

    Raw samples of the type `raw` with `rate` and `channels` (default 1), or a WAV. Raises InputError for bad input.
    """

    frames = 0  # not known

    def __init__(self, stream: BinaryIO, raw: str | None = None, rate: int | None = None, channels: int | None = None):
        if (raw is None) != (rate is None) or (raw is None and channels is not None):
            raise InputError("--rate and --channels tell of --raw input, which needs --rate; a WAV tells by itself")
        self.path, self.notes = Path("stdin"), []  # type: Path, list[str]
        self._stream = stream
        if raw is not None:
            assert rate is not None
            self._format = PipeFormat(RAW_TYPES[raw], rate, channels or 1)
        else:
            self._format = read_wav_header(stream)
        self.sample_rate, self.channels = self._format.rate, self._format.channels
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            raise InputError(f"stdin: a sample rate of {self.sample_rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz")

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 (n, channels), as soon as something comes; InputError where none comes, or too few."""
        done = 0
        for block in _blocks(self._stream, self._format, self.notes):
            loud = np.abs(block) > MAX_PEAK
            if done == 0 and loud.mean() > _LOUD_SHARE and np.isfinite(block).all():
                raise InputError(f"stdin: a sample is {block[loud][0]:g}: {integer_scale(float(np.abs(block).max()))}")
            done += len(block)
            yield block
        if done == 0:
            raise InputError("stdin: no samples came")

    def close(self) -> None:
        """The stream is its owner's."""


class PipeWriter:
    """Samples into a stream that cannot seek: WAV of float32, or `raw` samples without a header.

    Integer samples clip at +-1, counted in `clipped`.
    """

    def __init__(self, stream: BinaryIO, sample_rate: int, channels: int, raw: str | None = None):
        self.name, self.notes, self.clipped = Path("stdout"), [], 0  # type: Path, list[str], int
        self._stream, self._raw = stream, raw
        if raw is None:
            stream.write(wav_header(sample_rate, channels))

    def write(self, block: np.ndarray) -> None:
        """float32 (n, channels); what is ready is ready for the next in the pipe."""
        if self._raw == "s16le":
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
            block = np.clip(np.rint(block * 32768), -32768, 32767)
        self._stream.write(block.astype(RAW_TYPES[self._raw or "f32le"]).tobytes())
        self._stream.flush()


def is_stream(path: Path) -> bool:
    """Whether `path` has no beginning to go back to: a FIFO, a device, a pipe's descriptor."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def is_stream_output(path: Path) -> bool:
    """The same of an output, for which an open descriptor is one too, whatever is behind it."""
    return str(path).startswith(_DESCRIPTORS) or is_stream(path)


def read_wav_header(stream: BinaryIO) -> PipeFormat:
    """Read up to the first sample of a WAV (RIFF or RF64; 8 to 32 bits, float) on a stream that cannot seek.

    Raises InputError for anything else.
    """
    head = _exactly(stream, 12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        what = "nothing came" if not head else "this is no WAV"
        raise InputError(f"stdin: {what}; give a WAV (ffmpeg -f wav -, sox -t wav -) or say --raw with --rate")
    kind, rate, channels, wide = None, 0, 0, None
    while True:
        chunk = _exactly(stream, 8)
        if len(chunk) < 8:
            raise InputError("stdin: the WAV ends before its samples")
        name, length = struct.unpack("<4sI", chunk)
        if name == b"data":
            break
        if length > _MAX_CHUNK:
            raise InputError(f"stdin: the WAV has a chunk of {length} bytes before its samples; is it damaged?")
        body = _exactly(stream, length + length % 2)
        if name == b"ds64" and len(body) >= 16:
            wide = struct.unpack("<Q", body[8:16])[0]
        if name == b"fmt " and len(body) >= 16:
            code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            if code == _EXTENSIBLE and len(body) >= 26:
                code = struct.unpack("<H", body[24:26])[0]
            kind = {
                (_PCM, 8): "<u1",
                (_PCM, 16): "<i2",
                (_PCM, 24): "s24",
                (_PCM, 32): "<i4",
                (_FLOAT, 32): "<f4",
                (_FLOAT, 64): "<f8",
            }.get((code, bits))
            if kind is None or channels == 0:
                raise InputError(f"stdin: a WAV of format {code} with {bits} bits; give PCM or float samples")
    if kind is None:
        raise InputError("stdin: the WAV does not tell its format")
    if wide is not None and length == _UNKNOWN:
        return PipeFormat(kind, rate, channels, wide or None)
    return PipeFormat(kind, rate, channels, None if length == 0 or length >= _STREAMING else length)


def wav_header(rate: int, channels: int) -> bytes:
    """Of a float32 WAV whose length is not known yet."""
    form = struct.pack("<HHIIHH", _FLOAT, channels, rate, 4 * rate * channels, 4 * channels, 32)
    return struct.pack("<4sI4s4sI", b"RIFF", _UNKNOWN, b"WAVE", b"fmt ", len(form)) + form + b"data" + b"\xff" * 4


def _blocks(stream: BinaryIO, given: PipeFormat, notes: list[str]) -> Iterator[np.ndarray]:
    """Blocks of float32 (n, channels), as soon as something comes."""
    read = getattr(stream, "read1", stream.read)
    left, kept = given.length, b""
    while True:
        if left == 0:
            kept = _behind(stream, given)
            if not kept:
                break
            notes.append(f"the header declares {given.length} bytes of samples, more come and are read")
            left = None
        piece = read(READ_BYTES if left is None else min(READ_BYTES, left))
        if not piece:
            break
        if left is not None:
            left -= len(piece)
        content = kept + piece
        whole = len(content) // given.frame_bytes * given.frame_bytes
        kept = content[whole:]
        if whole:
            yield _decoded(content[:whole], given)
    if left:
        missing = left // given.frame_bytes
        raise InputError(f"stdin: truncated: the WAV declares {missing} more samples")
    if kept:
        notes.append("the last sample is incomplete and left out")


def _behind(stream: BinaryIO, given: PipeFormat) -> bytes:
    """What follows the samples as declared, where it is more of them; a chunk is read away."""
    assert given.length is not None
    head = _exactly(stream, 8 + given.length % 2)
    name = head[given.length % 2 :][:4]
    if len(head) >= 8 and not all(32 <= byte < 127 for byte in name):
        return head
    while stream.read(READ_BYTES):
        continue
    return b""


def _decoded(content: bytes, given: PipeFormat) -> np.ndarray:
    if given.kind == "s24":
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        samples = wide.view("<i4")[:, 0] / np.float32(2**31)
    else:
        values = np.frombuffer(content, given.kind)
        full_scale = {"<u1": 128, "<i2": 2**15, "<i4": 2**31}.get(given.kind)
        if full_scale is None:
            with np.errstate(over="ignore", invalid="ignore"):  # a session looks at what is no number
                samples = values.astype(np.float32)
        else:
            samples = (values.astype(np.float64) - (128 if given.kind == "<u1" else 0)) / full_scale
    return samples.reshape(-1, given.channels).astype(np.float32)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    """`count` bytes, fewer only at the end."""
    pieces = []
    while count > 0 and (piece := stream.read(min(count, READ_BYTES))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
