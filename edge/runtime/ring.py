"""A ring of audio frames between two threads, one that writes and one that reads, without a lock."""

from __future__ import annotations

import numpy as np


class Ring:
    """The last `frames` frames of a stream, addressed by their position in it.

    One thread writes, others read. What was written is published by one assignment of `span`, after the samples are
    in place; a read that was overtaken by the writer is noticed and gives nothing.
    """

    def __init__(self, frames: int, channels: int):
        self.frames, self.channels = frames, channels
        self._buffer = np.zeros((frames, channels), np.float32)
        self.span = (0, 0)  # positions from .. to that were written, of which the last `frames` remain
        self.skipped = (0, 0)  # positions from .. to that `skip` last filled

    @property
    def end(self) -> int:
        """Where the next frame goes."""
        return self.span[1]

    def clear(self, start: int, end: int) -> None:
        """Take the positions start .. end for written, as zeros, and nothing else (writer only)."""
        self.span = (start, start)
        self._buffer[:] = 0
        self.span = (start, end)

    def write(self, block: np.ndarray) -> None:
        """Append float32 (n, channels or 1); n is at most `frames`."""
        start, end = self.span
        count = len(block)
        at = end % self.frames
        first = min(count, self.frames - at)
        self._buffer[at : at + first] = block[:first]
        if first < count:
            self._buffer[: count - first] = block[first:]
        self.span = (start, end + count)

    def skip(self, end: int) -> None:
        """Go on at position `end`, with zeros for the frames before it (writer only)."""
        start, now = self.span
        self.skipped = now, end
        self.span = (min(now, max(start, end - self.frames)), now)  # what is zeroed below is gone
        count = min(end - now, self.frames)
        at = (end - count) % self.frames
        first = min(count, self.frames - at)
        self._buffer[at : at + first] = 0
        self._buffer[: count - first] = 0
        self.span = (start, end)

    def read(self, position: int, out: np.ndarray, spare: int = 0) -> int:
        """Copy what is there of the frames from `position` on into `out` (n, channels); returns how many.

        0 where the first of them is not there (any more). `spare`: frames that the writer may be overwriting now.
        """
        start, end = self.span
        count = min(len(out), end - position)
        if count <= 0 or position < max(start, end + spare - self.frames):
            return 0
        at = position % self.frames
        first = min(count, self.frames - at)
        out[:first] = self._buffer[at : at + first]
        if first < count:
            out[first:count] = self._buffer[: count - first]
        start, end = self.span
        return count if position >= max(start, end + spare - self.frames) else 0
