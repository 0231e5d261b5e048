"""AAC in an M4A file, which libsndfile does not write: encoded by PyAV, or by ffmpeg on PATH."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge.audio.media import has_pyav
from edge.errors import EdgeError, InputError

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_BITS_PER_CHANNEL = 96_000


def open_encoder(path: Path, sample_rate: int, channels: int) -> PyAvEncoder | FfmpegEncoder:
    """An encoder into `path`; InputError for channels that have no layout, or where there is no encoder."""
    if channels not in _LAYOUTS:
        raise InputError(f"AAC has no layout of {channels} channels")
    if has_pyav():
        return PyAvEncoder(path, sample_rate, channels)
    if shutil.which("ffmpeg"):
        return FfmpegEncoder(path, sample_rate, channels)
    raise InputError('writing M4A needs pip install "stem-edge[media]", or ffmpeg')


class PyAvEncoder:
    def __init__(self, path: Path, sample_rate: int, channels: int):
        import av

        self._layout, self._rate, self._at = _LAYOUTS[channels], sample_rate, 0
        self._container = av.open(f"file:{path}", "w", format="ipod")
        self._stream: Any = self._container.add_stream("aac", rate=sample_rate, layout=self._layout)
        self._stream.bit_rate = _BITS_PER_CHANNEL * channels

    def write(self, block: np.ndarray) -> None:
        """float32 (n, channels)."""
        import av

        planar = np.ascontiguousarray(np.clip(block, -1, 1).T, np.float32)
        frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=self._layout)
        frame.rate, frame.pts = self._rate, self._at
        self._at += len(block)
        with self._failures():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        with self._failures():
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def abort(self) -> None:
        import av

        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        import av

        try:
            yield
        except av.FFmpegError as error:
            raise EdgeError(" ".join(str(error).split())) from error


class FfmpegEncoder:
    def __init__(self, path: Path, sample_rate: int, channels: int):
        command = ["ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", str(sample_rate), "-ac", str(channels)]
        output = ["-i", "-", "-c:a", "aac", "-b:a", str(_BITS_PER_CHANNEL * channels), "-f", "ipod", f"file:{path}"]
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen([*command, *output], stdin=subprocess.PIPE, stderr=self._errors)

    def write(self, block: np.ndarray) -> None:
        """float32 (n, channels)."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.clip(block, -1, 1).astype("<f4").tobytes())
        except BrokenPipeError as error:
            raise EdgeError(self._words()) from error

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait():
            raise EdgeError(self._words())
        self._errors.close()

    def abort(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _words(self) -> str:
        self._errors.seek(0)
        return " ".join(self._errors.read().decode(errors="replace").split())[:200] or "ffmpeg failed"
