"""Writing: an extension names the format, and what a format cannot hold is converted, counted or refused."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile

from edge.audio.m4a import open_encoder
from edge.audio.order import as_ogg, has_ogg_order
from edge.audio.reader import native, reason_of
from edge.audio.resampler import Resampler
from edge.audio.tags import Tags
from edge.errors import EdgeError, InputError

_4_GIB = 1 << 32
_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class OutputFormat:
    """A kind of file: its extension, libsndfile's format and subtype, and the rates that it can have (none: any)."""

    extension: str
    container: str
    subtype: str
    rates: tuple[int, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether samples beyond full scale stay as they are."""
        return self.subtype == "FLOAT"


# What --format takes.
OUTPUT_FORMATS = {
    "wav": OutputFormat(".wav", "WAV", "FLOAT"),
    "wav16": OutputFormat(".wav", "WAV", "PCM_16"),
    "wav24": OutputFormat(".wav", "WAV", "PCM_24"),
    "flac": OutputFormat(".flac", "FLAC", "PCM_24"),
    "mp3": OutputFormat(".mp3", "MP3", "MPEG_LAYER_III", _MPEG_RATES),
    "ogg": OutputFormat(".ogg", "OGG", "VORBIS"),
    "opus": OutputFormat(".opus", "OGG", "OPUS", (8000, 12000, 16000, 24000, 48000)),
    "m4a": OutputFormat(".m4a", "M4A", "AAC", _MPEG_RATES),
    "w64": OutputFormat(".w64", "W64", "FLOAT"),
    "aiff": OutputFormat(".aiff", "AIFF", "FLOAT"),
    "caf": OutputFormat(".caf", "CAF", "FLOAT"),
}
_BY_EXTENSION = {".aif": OUTPUT_FORMATS["aiff"]} | {
    kind.extension: kind for name, kind in reversed(OUTPUT_FORMATS.items()) if name == kind.extension[1:]
}


def output_format(path: Path, format: str | None = None) -> OutputFormat:
    """The kind of file that `path` names by its extension, or `format` of that extension.

    Raises InputError for an extension that is not written, or not that of `format`.
    """
    found = _BY_EXTENSION.get(path.suffix.lower())
    if found is None:
        known = " ".join(sorted(_BY_EXTENSION))
        raise InputError(f"{path}: unknown output extension {path.suffix!r}; use one of {known}")
    if format is None:
        return found
    wanted = OUTPUT_FORMATS[format]
    if wanted.extension != found.extension:
        raise InputError(f"{path} is not named as {format} is ({wanted.extension}): leave --format away, or rename it")
    return wanted


class AudioWriter:
    """Writes float32 blocks (n, channels) to `path` in a kind of file.

    `named` (default `path`) is its final name. `frames` is the expected length, 0 where it is not known: a WAV beyond
    4 GiB becomes RF64. Audio of a rate that the format lacks is converted (`notes` says so). Formats other than
    float clip at +-1, counted in `clipped`. Raises InputError for a format that cannot hold the rate or channels,
    EdgeError where writing fails.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        frames: int = 0,
        named: Path | None = None,
        format: OutputFormat | None = None,
        tags: Tags | None = None,
    ):
        self.path = path
        self.name = named or path
        self.format = format or output_format(self.name)
        self.channels = channels
        self.clipped = 0
        self.notes: list[str] = []
        self._written = 0
        self._tags = tags
        rate = fitting_rate(self.format, sample_rate)
        if rate != sample_rate:
            self.notes.append(f"{self.name}: {rate} Hz in place of {sample_rate}, which the format lacks")
        self._resampler = Resampler(sample_rate, rate, channels)
        container = self.format.container
        self._ogg = has_ogg_order(container, self.format.subtype, channels)
        if container == "WAV" and (frames == 0 or 4 * frames * channels > _4_GIB - 2**20):
            container = "RF64"  # what turns out to be shorter becomes a plain WAV at the end
        self._wide = container == "RF64"
        try:
            if container == "M4A":
                self._encoder, self._file = open_encoder(path, rate, channels), None
            else:
                self._file = soundfile.SoundFile(
                    native(path), "w", rate, channels, self.format.subtype, format=container
                )
                if tags is not None:
                    tags.name(self._file)
        except (soundfile.LibsndfileError, ValueError, InputError) as error:
            reason = str(error) if isinstance(error, InputError) else reason_of(error)
            raise InputError(
                f"cannot write {self.name} with {channels} channel(s) at {sample_rate} Hz: {reason}; "
                "a .wav output takes any"
            ) from error

    def write(self, block: np.ndarray) -> None:
        """Append a block; raises EdgeError where the model gave a NaN or infinite sample or the disk is full."""
        if len(block) == 0:
            return
        if not np.isfinite(block).all():
            raise EdgeError(f"the model gave NaN or infinite samples for {self.name}; try --backend or fp32")
        self._put(self._resampler.process(block))

    def _put(self, block: np.ndarray) -> None:
        if len(block) == 0:
            return
        if not self.format.exact:
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
        with self._failures():
            if self._file is None:
                self._encoder.write(block)
            else:
                self._file.write(as_ogg(block) if self._ogg else block)
        self._written += len(block)

    def close(self) -> None:
        """Close the file, make sure that every sample is in it (closing reports no error of its own), and tag it."""
        if self._closed:
            return
        self._put(self._resampler.flush())
        with self._failures():
            if self._file is None:
                self._closed_encoder = True
                self._encoder.close()
            else:
                self._file.close()
                frames = soundfile.info(native(self.path)).frames if self._written else 0
                if frames < self._written:
                    raise EdgeError(f"only {frames} of {self._written} samples were stored")
            if self._wide:
                narrow(self.path)
            if self._tags is not None:
                self._tags.write(self.path, self.format.extension)

    _closed_encoder = False

    @property
    def _closed(self) -> bool:
        return self._closed_encoder if self._file is None else self._file.closed

    @contextlib.contextmanager
    def _failures(self):
        try:
            yield
        except (
            soundfile.LibsndfileError,
            OSError,
            AssertionError,
            EdgeError,
        ) as error:  # soundfile asserts full writes
            raise EdgeError(f"cannot write {self.name}: {_disk_reason(self.path, error)}") from error

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._file is None:
            self._encoder.abort()
        else:
            with contextlib.suppress(soundfile.LibsndfileError):  # the first error is the one to report
                self._file.close()


def fitting_rate(format: OutputFormat, rate: int) -> int:
    """The lowest rate of the format that holds all of `rate` Hz, or its highest."""
    if not format.rates or rate in format.rates:
        return rate
    return next((possible for possible in format.rates if possible > rate), format.rates[-1])


def narrow(path: Path) -> None:
    """Make a plain WAV of an RF64 file whose sizes 32 bits can tell."""
    with path.open("r+b") as file:
        head = file.read(36)
        riff, data = struct.unpack("<QQ", head[20:36])
        if head[:4] != b"RF64" or head[12:16] != b"ds64" or riff >= _4_GIB - 8:
            return
        at = 12
        while (chunk := file.seek(at) and file.read(8)) and chunk[:4] != b"data":
            at += 8 + (length := struct.unpack("<I", chunk[4:])[0]) + length % 2
        for offset, content in (
            (0, struct.pack("<4sI", b"RIFF", riff)),
            (12, b"JUNK"),
            (at + 4, struct.pack("<I", data)),
        ):
            file.seek(offset)
            file.write(content)


def _disk_reason(path: Path, error: BaseException) -> str:
    """libsndfile loses the system's reason: ask the file system again with one small write."""
    try:
        with path.open("ab") as file:
            file.write(bytes(8192))
            file.flush()
    except OSError as system:
        return system.strerror or str(system)
    return reason_of(error) or "not all samples could be written (is the disk full?)"
