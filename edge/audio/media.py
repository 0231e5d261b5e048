"""What phones and cameras give (M4A, MP4, MOV, WebM, WMA, AMR): decoded by PyAV, or by ffmpeg on PATH."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edge.errors import InputError

_TRUNCATED = "truncated: the file declares {declared:.2f} s of audio, {done:.2f} s could be decoded"
_TOLERANCE = 0.25  # seconds by which a container's duration may differ from its samples
# A duration is one of the recording in these; elsewhere it is guessed from the bit rate, or that of the picture.
_TELLING = ("mov", "asf", "matroska", "webm")

_MAGIC = {
    4: ((b"ftyp", "MP4/M4A/MOV/3GP"), (b"moov", "MOV"), (b"mdat", "MOV")),
    0: (
        (b"\x1a\x45\xdf\xa3", "WebM/Matroska"),
        (b"0&\xb2u", "WMA/WMV"),
        (b"#!AMR", "AMR"),
        (b"\xff\xf1", "AAC"),
        (b"\xff\xf9", "AAC"),
        (b"ADIF", "AAC"),
        (b"FLV", "FLV"),
        (b"\0\0\1\xba", "MPEG video"),
        (b"wvpk", "WavPack"),
        (b"MAC ", "Monkey's Audio"),
        (b"TTA1", "True Audio"),
        (b"DSD ", "DSD"),
        (b"MPCK", "Musepack"),
        (b"OggS", "this Ogg stream"),
    ),
}


def what_media(path: Path) -> str | None:
    """The kind of a media file that libsndfile does not read, by its first bytes; None for others."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI"
    for at, kinds in _MAGIC.items():
        for magic, name in kinds:
            if head[at : at + len(magic)] == magic:
                return name
    return None


def open_media(path: Path) -> PyAvDecoder | FfmpegDecoder | None:
    """A decoder for `path`; None where neither PyAV nor ffmpeg is installed.

    Raises InputError where there is no audio in the file, or none that can be read.
    """
    if has_pyav():
        return PyAvDecoder(path)
    return FfmpegDecoder(path) if shutil.which("ffmpeg") else None


def has_pyav() -> bool:
    return importlib.util.find_spec("av") is not None


def _unreadable(path: Path, error: object) -> InputError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
    return InputError(f"{path}: not an audio file that can be read: {reason}")


class PyAvDecoder:
    """The default audio track of a media file, decoded in this process."""

    def __init__(self, path: Path):
        import av

        av.logging.set_level(av.logging.PANIC)  # errors are raised
        self._path = path
        self._file: BinaryIO = path.open("rb")  # not a name, which may look like a protocol's
        try:
            self._container = av.open(self._file, "r", metadata_errors="ignore")
        except (av.FFmpegError, ValueError) as error:
            self._file.close()
            raise _unreadable(path, error) from error
        tracks = self._container.streams.audio
        if not tracks:
            self.close()
            raise InputError(f"{path}: not an audio file that can be read: there is no audio track in it")
        self._stream: Any = tracks[0]
        self.sample_rate, self.channels = self._stream.rate or 0, self._stream.channels or 0
        if not self.sample_rate or not self.channels:
            self.close()
            raise InputError(f"{path}: not an audio file that can be read: its audio track is unknown or damaged")
        self._declared = self._duration()
        self.frames = round((self._declared or 0) * self.sample_rate)

    def _duration(self) -> float | None:
        stream = self._stream
        if not any(name in self._container.format.name for name in _TELLING):
            return None
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        tagged = next((v for k, v in stream.metadata.items() if k.upper().startswith("DURATION")), None)
        if tagged:
            return _seconds(tagged)
        alone = len(self._container.streams) == 1
        return self._container.duration / 1e6 if alone and self._container.duration else None

    def _left(self) -> int:
        """Samples up to the end."""
        return _end(self._container.format.name, self.frames, self.sample_rate)

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        import av

        done, left = 0, self._left()
        resampler = av.AudioResampler(format="flt", layout=self._stream.layout, rate=self.sample_rate)
        try:
            for frame in self._container.decode(self._stream):
                for converted in resampler.resample(frame):
                    block = converted.to_ndarray().reshape(-1, self.channels)[: left - done]
                    done += len(block)
                    for start in range(0, len(block), frames):
                        yield block[start : start + frames]
        except (av.FFmpegError, ValueError) as error:
            place = f"after {done / self.sample_rate:.2f} s"
            words = " ".join((getattr(error, "strerror", None) or str(error)).split())
            raise InputError(f"{self._path}: damaged or truncated {place}: {words}") from error
        _check_length(self._path, self._declared, done / self.sample_rate)

    def close(self) -> None:
        container = getattr(self, "_container", None)
        if container is not None:
            container.close()
        self._file.close()


class FfmpegDecoder:
    """The default audio track of a media file, decoded by the `ffmpeg` command."""

    def __init__(self, path: Path):
        self._path = path
        entries = "stream=sample_rate,channels,duration:stream_tags=DURATION:format=format_name,duration,nb_streams"
        command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", entries, "-of", "json"]
        done = subprocess.run([*command, f"file:{path}"], capture_output=True)
        if done.returncode:
            raise _unreadable(path, done.stderr.decode(errors="replace").rsplit(": ", 1)[-1])
        found = json.loads(done.stdout)
        if not found.get("streams"):
            raise InputError(f"{path}: not an audio file that can be read: there is no audio track in it")
        stream, container = found["streams"][0], found["format"]
        self.sample_rate, self.channels = int(stream["sample_rate"]), int(stream["channels"])
        self._declared: float | None = None
        if any(name in container["format_name"] for name in _TELLING):
            told = stream.get("duration") or stream.get("tags", {}).get("DURATION")
            if not told and container.get("nb_streams") == 1:
                told = container.get("duration")
            self._declared = _seconds(told) if told else None
        self.frames = round((self._declared or 0) * self.sample_rate)
        self._end = _end(container["format_name"], self.frames, self.sample_rate)
        self._process: subprocess.Popen | None = None

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", f"file:{self._path}", "-map", "0:a:0"]
        output = ["-ac", str(self.channels), "-ar", str(self.sample_rate), "-c:a", "pcm_f32le", "-f", "f32le", "-"]
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen([*command, *output], stdout=subprocess.PIPE, stderr=errors)
            assert self._process.stdout is not None
            done, size = 0, 4 * self.channels
            while content := self._process.stdout.read(frames * size):
                block = np.frombuffer(content, "<f4", len(content) // size * self.channels).reshape(-1, self.channels)
                block = block[: self._end - done]
                done += len(block)
                yield block.copy()
            if self._process.wait():
                errors.seek(0)
                words = " ".join(errors.read().decode(errors="replace").split())[:200]
                place = f"after {done / self.sample_rate:.2f} s"
                raise InputError(f"{self._path}: damaged or truncated {place}: {words}")
        _check_length(self._path, self._declared, done / self.sample_rate)

    def close(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()


def _end(format: str, frames: int, rate: int) -> int:
    """What is behind the duration of an MP4, which is in milliseconds, is an encoder's padding."""
    return frames + rate // 1000 + 1 if frames and "mov" in format else 1 << 62


def _check_length(path: Path, declared: float | None, done: float) -> None:
    if declared is not None and done < declared - _TOLERANCE:
        raise InputError(f"{path}: " + _TRUNCATED.format(declared=declared, done=done))


def _seconds(text: str) -> float:
    """Of "12.5" or "00:00:12.5"."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds
