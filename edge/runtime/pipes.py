"""A bundle between two pipes: WAV or raw samples in, the same out, as they come."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from edge.audio import MAX_RATE, MIN_RATE
from edge.bundle import Bundle
from edge.errors import InputError
from edge.native.session import NativeGraph
from edge.runtime.chain import new_chain, refuse_bad_results
from edge.runtime.graphs import LoadedGraph, load_graph

READ_BYTES = 65536
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


def run_pipe(
    bundle: Bundle,
    source_pipe: BinaryIO,
    target_pipe: BinaryIO,
    backend: str,
    threads: int = 1,
    raw: str | None = None,
    rate: int | None = None,
    channels: int | None = None,
    source: str | None = None,
    latency: float | None = None,
    consistent: bool = False,
    load: Callable[[], LoadedGraph | NativeGraph] | None = None,
) -> int:
    """Enhance, or separate one stem (`source`), from one binary stream to the other; returns the frames.

    Raw samples of the type `raw` with `rate` and `channels` (default 1), or WAV without (float32 out). The rate, the
    channels and the length stay. Separation is a stream with running normalisation (see `open_session`). `load`
    gives the graph where it is another than `load_graph`'s. Raises InputError for bad input or options.
    """
    manifest = bundle.manifest
    if (raw is None) != (rate is None) or (raw is None and channels is not None):
        raise InputError("--rate and --channels tell of --raw input, which needs --rate; a WAV tells by itself")
    if manifest.task == "separate" and source is None:
        names = ", ".join(manifest.sources)
        raise InputError(f"a pipe takes one stem: choose by --source ({names})")
    if raw is not None:
        assert rate is not None
        given = PipeFormat(RAW_TYPES[raw], rate, channels or 1)
    else:
        given = read_wav_header(source_pipe)
    if not MIN_RATE <= given.rate <= MAX_RATE:
        raise InputError(f"stdin: a sample rate of {given.rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz")
    graph = load() if load else load_graph(bundle, backend, threads)
    chain = new_chain(bundle, graph, given.rate, given.channels, latency, consistent=consistent, name="stdin")
    index = manifest.sources.index(source) if source else 0
    if raw is None:
        target_pipe.write(wav_header(given.rate, chain.channels))
    clipped = 0

    def write(audio: np.ndarray) -> None:
        nonlocal clipped
        refuse_bad_results(chain, "stdin")
        if raw == "s16le":
            clipped += int(np.count_nonzero(np.abs(audio) > 1))
            audio = np.clip(np.rint(audio * 32768), -32768, 32767)
        target_pipe.write(audio.astype(RAW_TYPES[raw or "f32le"]).tobytes())
        target_pipe.flush()  # what is ready is ready for the next in the pipe

    for block in _blocks(source_pipe, given):
        write(chain.process(block)[index])
    if chain.frames == 0:
        raise InputError("stdin: no samples came")
    write(chain.flush()[index])
    if chain.faults[0]:
        print(f"note: stdin: {chain.faults[0]} NaN, infinite or absurd samples were taken for 0", file=sys.stderr)
    if clipped:
        print(f"note: stdout: {clipped} samples clipped at full scale; --raw f32le keeps them", file=sys.stderr)
    return chain.frames


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


def _blocks(stream: BinaryIO, given: PipeFormat) -> Iterator[np.ndarray]:
    """Blocks of float32 (n, channels), as soon as something comes."""
    read = getattr(stream, "read1", stream.read)
    left, kept = given.length, b""
    while left is None or left > 0:
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
