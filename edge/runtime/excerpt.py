"""A part of a recording, from a start in seconds and so long."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge.audio import AudioReader
from edge.errors import InputError
from edge.runtime.pipes import PipeReader


class Excerpt:
    """A reader of the part alone; as long as the recording goes where `duration` reaches beyond it."""

    def __init__(self, reader: AudioReader | PipeReader, start: float, duration: float | None):
        self._reader = reader
        self.path, self.notes = reader.path, reader.notes
        self.sample_rate, self.channels = reader.sample_rate, reader.channels
        self._start = round(start * reader.sample_rate)
        self._count = None if duration is None else max(1, round(duration * reader.sample_rate))
        left = max(0, reader.frames - self._start) if reader.frames else 0
        self.frames = left if self._count is None else min(left, self._count)

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 (n, channels); InputError where the recording ends before the part starts."""
        at, given = 0, 0
        for block in self._reader.blocks():
            part = block[max(0, self._start - at) :]
            at += len(block)
            if self._count is not None:
                part = part[: self._count - given]
            if len(part):
                given += len(part)
                yield part
            if given == self._count:
                return
        if given == 0:
            seconds = at / self.sample_rate
            raise InputError(f"{self.path}: --start is behind its end (it has {seconds:.2f} s)")
