"""Audio files of any rate, width and channel count as float32 blocks, and back; memory is flat in their length."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
import soxr

from edge.containers import OverlaidFile, check_complete, unfinished_wav
from edge.errors import EdgeError, InputError

BLOCK_FRAMES = 65536
_UNDECLARED = 2**63 - 1  # libsndfile's count of frames in a stream that does not say
MIN_RATE, MAX_RATE = 100, 1_000_000

# Extension -> libsndfile format and subtype of the files that are written.
OUTPUT_FORMATS = {
    ".wav": ("WAV", "FLOAT"),
    ".w64": ("W64", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "FLOAT"),
    ".aif": ("AIFF", "FLOAT"),
    ".caf": ("CAF", "FLOAT"),
}


class _Unseekable(soundfile.SoundFile):
    """soundfile seeks after every read, which fails in a FLAC stream of undeclared length."""

    def seekable(self) -> bool:
        return False


class AudioReader:
    """A decoded audio file: `sample_rate` (Hz), `channels`, `frames` (declared), and `blocks()`.

    Raises InputError, one line, for a file that is missing, empty, truncated, without samples or not audio.
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
            check_complete(self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        try:
            self._file = self._open()
        except (soundfile.LibsndfileError, TypeError, ValueError, OSError) as error:
            raise InputError(
                f"{self.path}: not an audio file that can be read (WAV, FLAC, MP3, OGG, AIFF, ...): {_reason(error)}"
            ) from error
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        if self.frames == 0:
            self._file.close()
            raise InputError(f"{self.path}: the file holds no samples")
        if self.frames == _UNDECLARED:
            self.frames = sum(map(len, self.blocks()))
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            self._file.close()
            raise InputError(
                f"{self.path}: a sample rate of {self.sample_rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz"
            )

    def _open(self) -> soundfile.SoundFile:
        file = soundfile.SoundFile(self.path)
        if file.frames == _UNDECLARED:
            file.close()
            return _Unseekable(self.path)
        if file.frames == 0 and (patches := unfinished_wav(self.path)):
            file.close()
            return soundfile.SoundFile(OverlaidFile(self.path, patches))
        return file

    def blocks(self, frames: int = BLOCK_FRAMES) -> Iterator[np.ndarray]:
        """Blocks of float32 (n, channels), n <= `frames`, full scale +-1, from the start of the file.

        Raises InputError at the first NaN or infinite sample (naming its place), where the decoder fails, and
        where fewer samples come out than the file declares.
        """
        self._file.close()
        self._file = self._open()  # not seek(0): not every file can
        done = 0
        while True:
            try:
                block = self._file.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise InputError(
                    f"{self.path}: damaged or truncated after {done / self.sample_rate:.2f} s: {_reason(error)}"
                ) from error
            if len(block) == 0:
                break
            finite = np.isfinite(block)
            if not finite.all():
                at, channel = np.argwhere(~finite)[0]
                raise InputError(
                    f"{self.path}: sample {done + at} (at {(done + at) / self.sample_rate:.3f} s) of channel "
                    f"{channel + 1} is {block[at, channel]}; repair the file"
                )
            done += len(block)
            yield block
        if done == 0:
            raise InputError(f"{self.path}: the file holds no samples")
        # MP3 headers count the decoder's padding or not: two MPEG frames of slack.
        slack = 2 * 1152 if self._file.format == "MP3" else 0
        if self.frames != _UNDECLARED and done < self.frames - slack:
            raise InputError(f"{self.path}: truncated: {done} of {self.frames} declared samples could be decoded")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AudioWriter:
    """Writes float32 blocks (n, channels) to `path`; `named` (default `path`) gives the format by its extension.

    `frames` is the expected length: a WAV beyond 4 GiB becomes RF64. Integer formats clip at +-1, counted in
    `clipped`. Raises InputError for a format that cannot hold the rate or channels, EdgeError where writing fails.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int, frames: int = 0, named: Path | None = None):
        self.path = path
        self.name = named or path
        format, subtype = output_format(self.name)
        if format == "WAV" and 4 * frames * channels > 2**32 - 2**20:
            format = "RF64"
        self._counts_clipping = subtype != "FLOAT"
        self.channels = channels
        self.clipped = 0
        self._written = 0
        try:
            self._file = soundfile.SoundFile(path, "w", sample_rate, channels, subtype, format=format)
        except (soundfile.LibsndfileError, ValueError) as error:
            raise InputError(
                f"cannot write {self.name} with {channels} channel(s) at {sample_rate} Hz: {_reason(error)}; "
                "a .wav output takes any"
            ) from error

    def write(self, block: np.ndarray) -> None:
        """Append a block; raises EdgeError where the model gave a NaN or infinite sample or the disk is full."""
        if len(block) == 0:
            return
        if not np.isfinite(block).all():
            raise EdgeError(f"the model gave NaN or infinite samples for {self.name}; try --backend or fp32")
        if self._counts_clipping:
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
        try:
            self._file.write(block)
        except (soundfile.LibsndfileError, OSError, AssertionError) as error:  # soundfile asserts full writes
            raise EdgeError(f"cannot write {self.name}: {_disk_reason(self.path, error)}") from error
        self._written += len(block)

    def close(self) -> None:
        """Close the file and make sure that every sample is in it: closing reports no error of its own."""
        if self._file.closed:
            return
        try:
            self._file.close()
            frames = soundfile.info(str(self.path)).frames if self._written else 0
        except soundfile.LibsndfileError as error:
            raise EdgeError(f"cannot write {self.name}: {_disk_reason(self.path, error)}") from error
        if frames < self._written:
            raise EdgeError(f"cannot write {self.name}: only {frames} of {self._written} samples were stored")

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(soundfile.LibsndfileError):  # the first error is the one to report
                self._file.close()


class Resampler:
    """Streaming sample-rate conversion of (n, channels) float32 blocks, its delay compensated (soxr, HQ)."""

    def __init__(self, rate_in: int, rate_out: int, channels: int):
        same = rate_in == rate_out
        self._channels = channels
        self._stream = None if same else soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32")
        self._seen = self._given = 0

    def process(self, block: np.ndarray) -> np.ndarray:
        """Feed a block of any length; returns (m, channels), m as many samples as are ready."""
        return self._count(block, block if self._stream is None else self._convert(block, last=False))

    def flush(self) -> np.ndarray:
        """The rest; at least one sample in all where any came in. The converter is spent afterwards."""
        nothing = np.zeros((0, self._channels), np.float32)
        out = nothing if self._stream is None else self._convert(nothing, last=True)
        if self._seen and not self._given and not len(out):  # a one-sample recording rounds to nothing
            out = np.zeros((1, self._channels), np.float32)
        return self._count(nothing, out)

    def _convert(self, block: np.ndarray, last: bool) -> np.ndarray:
        assert self._stream is not None
        out = self._stream.resample_chunk(np.ascontiguousarray(block, np.float32), last=last)
        return out.reshape(-1, self._channels)

    def _count(self, block: np.ndarray, out: np.ndarray) -> np.ndarray:
        self._seen += len(block)
        self._given += len(out)
        return out


def output_format(path: Path) -> tuple[str, str]:
    """libsndfile format and subtype for the extension of `path`; InputError for one that is not written."""
    try:
        return OUTPUT_FORMATS[path.suffix.lower()]
    except KeyError:
        known = " ".join(OUTPUT_FORMATS)
        raise InputError(f"{path}: unknown output extension {path.suffix!r}; use one of {known}") from None


def _reason(error: BaseException) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return " ".join(text.split()).rstrip(".")


def _disk_reason(path: Path, error: BaseException) -> str:
    """libsndfile loses the system's reason: ask the file system again with one small write."""
    try:
        with path.open("ab") as file:
            file.write(bytes(8192))
            file.flush()
    except OSError as system:
        return system.strerror or str(system)
    return _reason(error) or "not all samples could be written (is the disk full?)"
