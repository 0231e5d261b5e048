"""What the times of a device's callbacks tell: how many frames it lost, and how late it hears and plays."""

from __future__ import annotations

import numpy as np

HISTORY = 64  # blocks by whose median the time of a block is expected
MIN_SECONDS = 0.02  # of a loss that is believed without an overflow: a device's times jitter by some milliseconds
_BLOCKS = 1.5  # the same in blocks, where these are long


class CaptureClock:
    """Follows one stream's blocks of captured frames from its start.

    A single time jitters, so the length of a single loss does. What it was off by shows in the median of the blocks
    that follow, and the next loss makes up for it: errors do not add up, however often a device overflows.
    """

    def __init__(self, rate: int, block: int):
        self._rate = rate
        self._least = max(MIN_SECONDS * rate, _BLOCKS * block)
        self._position = self._blocks = 0
        self._offsets = np.zeros(HISTORY)  # time of a block in frames - its position, of the latest
        self._base = self._owed = 0.0  # the offset before a loss; frames by which the losses before were too short
        self._settled_at: int | None = None

    def lost(self, time: float, frames: int, overflow: bool, anew: bool = False) -> int:
        """Take the next block of `frames`; how many are missing before it, 0 while nothing is reported.

        time: seconds, when its first frame was captured, by any clock that goes on with losses. overflow: the device
        says that it lost something. anew: it was started anew, which may have lost something.
        """
        offset, lost = time * self._rate - self._position, 0
        if (overflow or anew) and self._blocks:
            if self._settled_at is None:
                self._base = self._median() - self._owed
            self._settled_at = self._blocks + HISTORY
            missing = offset - self._base
            lost = max(0, round(missing)) if overflow or missing >= self._least else 0
        self._offsets[self._blocks % HISTORY] = offset - lost
        self._position += lost + frames
        self._blocks += 1
        if self._blocks == self._settled_at:
            self._owed, self._settled_at = self._median() - self._base, None
        return lost

    def _median(self) -> float:
        return float(np.median(self._offsets[: min(self._blocks, HISTORY)]))


class Lateness:
    """Of the latest callbacks of a stream, by the device's own times in seconds; 0 where it tells none."""

    def __init__(self) -> None:
        self._times = np.zeros((HISTORY, 3))
        self._calls = 0

    def add(self, captured: float, now: float, plays: float) -> None:
        """Of a callback: when its first frame in was captured, when it came, when its first frame out is played."""
        if captured > 0 and plays > 0:
            self._times[self._calls % HISTORY] = captured, now, plays
            self._calls += 1

    @property
    def of_input(self) -> float:
        """Seconds from the microphone to the callback."""
        return self._median(1, 0)

    @property
    def round_trip(self) -> float:
        """Seconds that a frame would take from the microphone to the loudspeaker if it were played at once."""
        return self._median(2, 0)

    def _median(self, end: int, start: int) -> float:
        times = self._times[: min(self._calls, HISTORY)]
        return max(0.0, float(np.median(times[:, end] - times[:, start]))) if len(times) else 0.0
