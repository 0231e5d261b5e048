"""Reading: what a file holds decides, not what its header says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import soundfile

from edge.audio.media import open_media, what_media
from edge.audio.order import as_wav, has_ogg_order, has_speakers
from edge.containers import Layout, Part, SplicedFile, examine
from edge.errors import InputError

BLOCK_FRAMES = 65536
MIN_RATE, MAX_RATE = 100, 1_000_000
MAX_PEAK = 100.0  # +40 dB above full scale: beyond it, float samples are integers that nobody has scaled
_UNDECLARED = 2**63 - 1  # libsndfile's count of frames in a stream that does not say


class Decoder(Protocol):
    """One recording: Hz, channels, frames (0: unknown) and `blocks`, which may be called once."""

    sample_rate: int
    channels: int
    frames: int

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """float32 (n, channels), n <= `frames`; raises InputError where decoding fails or ends too soon."""
        ...

    def close(self) -> None: ...


class AudioReader:
    """A decoded audio file: `sample_rate` (Hz), `channels`, `frames` (0 where only decoding could tell), `blocks()`.

    notes: what a user should know of the file, a line each. Raises InputError, one line, for a file that is missing,
    empty, truncated, without samples or not audio.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(f"{self.path}: no such file")
        if not self.path.is_file():
            raise InputError(f"{self.path}: not a file")
        try:
            if self.path.stat().st_size == 0:
                raise InputError(f"{self.path}: the file is empty (0 bytes)")
            layout = examine(self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        self.notes = list(layout.notes) if layout else []
        self._parts: tuple[Part | None, ...] = layout.parts if layout and not layout.honest else (None,)
        self._first: Decoder | None = None
        decoders = self._open_all(layout)
        self.sample_rate, self.channels = decoders[0].sample_rate, decoders[0].channels
        self.frames = 0 if any(d.frames == 0 for d in decoders) else sum(d.frames for d in decoders)
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            self.close()
            raise InputError(
                f"{self.path}: a sample rate of {self.sample_rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz"
            )

    def _open_all(self, layout: Layout | None) -> list[Decoder]:
        """All parts, the first left open; InputError where they differ or hold nothing."""
        decoders: list[Decoder] = []
        for part in self._parts:
            decoder = self._open(part)
            decoders.append(decoder)
            if part is self._parts[0]:
                self._first = decoder
            else:
                decoder.close()
        kinds = [(d.sample_rate, d.channels) for d in decoders]
        for number, kind in enumerate(kinds[1:], 2):
            if kind != kinds[0]:
                self.close()
                raise InputError(
                    f"{self.path}: {len(kinds)} recordings are joined in it, and number {number} has {kind[0]} Hz and "
                    f"{kind[1]} channel(s), the first {kinds[0][0]} Hz and {kinds[0][1]}; split the file"
                )
        return decoders

    def _open(self, part: Part | None) -> Decoder:
        try:
            return _Sndfile(self.path, part)
        except (soundfile.LibsndfileError, TypeError, ValueError, OSError) as error:
            reason = reason_of(error)
        if part is not None:
            raise InputError(f"{self.path}: not an audio file that can be read: {reason}")
        decoder = open_media(self.path)
        if decoder is None:
            kind = what_media(self.path)
            known = f"{kind} needs" if kind else "WAV, FLAC, MP3, OGG, AIFF, ... are read as they are; others need"
            raise InputError(
                f"{self.path}: not an audio file that can be read: {reason}; {known} "
                'pip install "stem-edge[media]", or ffmpeg'
            )
        return decoder

    def blocks(self, frames: int = BLOCK_FRAMES) -> Iterator[np.ndarray]:
        """Blocks of float32 (n, channels), n <= `frames`, full scale +-1, from the start of the file.

        Raises InputError at the first NaN or infinite sample (naming its place), at samples on an integer's scale,
        where the decoder fails, and where fewer samples come out than the file declares.
        """
        done = 0
        for part in self._parts:
            decoder = self._first if part is self._parts[0] and self._first else self._open(part)
            self._first = None
            try:
                for block in decoder.blocks(frames):
                    self._check(block, done)
                    done += len(block)
                    yield block
            finally:
                decoder.close()
        if done == 0:
            raise InputError(f"{self.path}: the file holds no samples")

    def _check(self, block: np.ndarray, done: int) -> None:
        peak = float(np.abs(block).max(initial=0))
        if peak <= MAX_PEAK:
            return
        at, channel = np.argwhere(~(np.abs(block) <= MAX_PEAK))[0]
        place = f"sample {done + at} (at {(done + at) / self.sample_rate:.3f} s) of channel {channel + 1}"
        if not np.isfinite(peak):
            at, channel = np.argwhere(~np.isfinite(block))[0]
            place = f"sample {done + at} (at {(done + at) / self.sample_rate:.3f} s) of channel {channel + 1}"
            raise InputError(f"{self.path}: {place} is {block[at, channel]}; repair the file")
        raise InputError(f"{self.path}: {place} is {block[at, channel]:g}: {integer_scale(peak)}")

    def close(self) -> None:
        if self._first is not None:
            self._first.close()
            self._first = None

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Forward(soundfile.SoundFile):
    """soundfile seeks after every read: inexact in an MP3, a failure in a FLAC stream of undeclared length."""

    def seekable(self) -> bool:
        return False


class _Sndfile:
    """A file, or a part of it, decoded by libsndfile."""

    def __init__(self, path: Path, part: Part | None):
        self._path, self._part = path, part
        self._source = SplicedFile(path, part.pieces) if part else None
        try:
            speakers = has_speakers(path, self._source)
            self._file = _Forward(self._source or native(path))
        except BaseException:
            self._close_source()
            raise
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        self._ogg = speakers and has_ogg_order(self._file.format, self._file.subtype, self.channels)
        skip = part.skip if part else 0
        self.frames = 0 if self._file.frames == _UNDECLARED else self._file.frames - skip
        if part and part.frames:
            self.frames = min(self.frames, part.frames)  # of MP2 libsndfile guesses
        if self._file.frames == 0:
            self.close()
            raise InputError(f"{path}: the file holds no samples")

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        done, skip = 0, self._part.skip if self._part else 0
        while True:
            try:
                block = self._file.read(skip or frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise InputError(
                    f"{self._path}: damaged or truncated after {done / self.sample_rate:.2f} s: {reason_of(error)}"
                ) from error
            if len(block) == 0:
                break
            if skip:
                skip -= len(block)
                continue
            done += len(block)
            yield as_wav(block) if self._ogg else block
        expected = max(self.frames, self._part.frames or 0 if self._part else 0)
        # MP3 headers count the decoder's padding or not
        slack = self._part.slack if self._part else 2 * 1152 if self._file.format == "MP3" else 0
        if done < expected - slack:
            raise InputError(f"{self._path}: truncated: {done} of {expected} declared samples could be decoded")

    def close(self) -> None:
        self._file.close()
        self._close_source()

    def _close_source(self) -> None:
        if self._source:
            self._source.close()


def integer_scale(peak: float) -> str:
    """What a float recording with such a peak looks like, and what to do."""
    bits = next((bits for bits in (8, 16, 24) if peak <= 1 << bits - 1), 32)
    return (
        f"full scale is 1, and this looks like {bits}-bit integers stored as float; scale them: "
        f"ffmpeg -i IN -af volume=1/{1 << bits - 1} -c:a pcm_f32le OUT.wav"
    )


def native(path: Path) -> bytes:
    """For libsndfile, which takes - for stdin."""
    return os.fsencode(path.absolute())


def reason_of(error: BaseException) -> str:
    """libsndfile's words, or the system's, as one line."""
    text = getattr(error, "error_string", None) or str(error)
    return " ".join(text.split()).rstrip(".")
