"""What the times of an input's callbacks tell: how many frames it lost, and when."""

from __future__ import annotations

import numpy as np

WINDOW_SECONDS = 1.3  # of blocks whose times are compared, before and after a fault
LEAST_BLOCKS, MOST_BLOCKS = 4, 256  # in a window
LEAST_SECONDS = 0.001  # of a loss
NEAR_BLOCKS = 4  # by so many a fault may be reported too early or too late
_EARLY, _LATE = 0.1, 0.9  # quantiles of the times
_DOUBT = 8.0  # a loss is more than this many times their scatter there, by the root of their number


class CaptureClock:
    """Finds what one stream lost, at the faults that the device reports, by the times of the blocks around them.

    A single time is off by some milliseconds. Most of that is to one side, as a device may tell late but not early, or
    the other way round: so the quantile on the tighter side of many times is good to a few hundredths of a millisecond,
    and a loss is known only when the window after it is full. It is where the times leave their level, which may be
    some blocks beside the fault. What is too little to be told from chance is owed, and counts at the next fault.

    The audio thread calls `take`, another thread all else.
    """

    def __init__(self, rate: int, block: int, side: float = _LATE):
        """`side`: of an earlier stream on the same device."""
        self._rate, self._block, self.side = rate, block, side
        self._window = int(np.clip(WINDOW_SECONDS * rate / block, LEAST_BLOCKS, MOST_BLOCKS))
        self._offsets = np.zeros(8 * self._window)  # time of a block in frames - its position, of the latest
        self._position = self._blocks = 0
        self._lead = 0  # frames before the listener's position 0
        self._faults: list[tuple[int, int]] = []  # block that follows, the listener's position there
        self._since = 0  # block after the last fault that is settled
        self._owed = 0.0  # frames

    def take(self, time: float, frames: int, position: int, fault: bool) -> None:
        """The next block of `frames`, captured at `time` (seconds, by any clock that goes on with losses).

        position: where the listener puts it, from 0 on. fault: the device says that something went wrong before it.
        """
        self._offsets[self._blocks % len(self._offsets)] = time * self._rate - self._position
        if fault and self._blocks:
            self._faults.append((self._blocks, position))
        self._lead = self._position - position
        self._position += frames
        self._blocks += 1

    @property
    def unsure_from(self) -> int | None:
        """The listener's position from which on it is not known yet what was lost."""
        return self._faults[0][1] - NEAR_BLOCKS * self._block if self._faults else None

    def losses(self, final: bool = False) -> list[tuple[int, int]]:
        """What has become known: (position, frames that were lost before it). `final`: no more blocks will come."""
        faults, blocks = list(self._faults), self._blocks
        if not faults:
            return []
        first, last = faults[0][0], faults[-1][0]
        if not final and blocks - last < self._window and blocks - first < 2 * self._window:
            return []
        before = self._around(max(self._since, first - self._window), first)
        self._choose(before)
        now = float(np.quantile(before, self.side))
        level, found, placed, earlier = now - self._owed, [], 0, before
        for (start, position), end in zip(faults, [block for block, _ in faults[1:]] + [blocks], strict=True):
            times = self._around(start, min(end, start + self._window))
            if len(times) < LEAST_BLOCKS and end != blocks:  # one fault in two parts
                continue
            now = float(np.quantile(times, self.side))
            chance = _DOUBT * self._scatter(before) / np.sqrt(min(len(before), len(times)))
            lost = round(now - level - placed)
            if lost >= max(LEAST_SECONDS * self._rate, chance):
                if position:  # else nobody listened yet
                    found.append((position + self._block * self._moved(start, earlier, times), lost))
                placed += lost
            earlier = times
        self._owed, self._since = now - level - placed, last
        del self._faults[: len(faults)]
        return found

    def _moved(self, block: int, before: np.ndarray, after: np.ndarray) -> int:
        """By how many blocks a loss comes after the block that it was reported at: where times first are beyond all
        those before. That is later only where the times after it all are beyond them."""
        before = before[:-NEAR_BLOCKS] if len(before) > NEAR_BLOCKS else before
        top, level, start = before.max(), np.quantile(after, self.side), max(self._since, block - NEAR_BLOCKS)
        times = self._around(start, min(block + NEAR_BLOCKS, self._blocks))
        beyond = np.flatnonzero(times > top + (level - top) / 4)
        if level - top <= LEAST_SECONDS * self._rate or not len(beyond):
            return 0
        moved = start + int(beyond[0]) - block
        return moved if np.quantile(after, 0.05) > top else min(0, moved)

    @property
    def began(self) -> float:
        """Seconds, when the listener's position 0 was captured; only after a block."""
        return self.opened + self._lead / self._rate

    @property
    def opened(self) -> float:
        """Seconds, when the stream's first frame was captured, or would have been but for what was lost since."""
        return float(np.quantile(self._latest(), self.side)) / self._rate

    def _latest(self) -> np.ndarray:
        since = self._faults[-1][0] if self._faults else self._since
        return self._around(max(since, self._blocks - self._window), self._blocks)

    def _around(self, start: int, end: int) -> np.ndarray:
        return self._offsets[np.arange(start, max(end, start + 1)) % len(self._offsets)]

    def _choose(self, times: np.ndarray) -> None:
        """The side on which the times scatter less."""
        if len(times) > 2 * LEAST_BLOCKS:
            self.side = min(_LATE, _EARLY, key=lambda side: self._scatter(times, side))

    def _scatter(self, times: np.ndarray, side: float | None = None) -> float:
        outer, inner = (0.95, 0.75) if (side or self.side) == _LATE else (0.05, 0.25)
        return float(abs(np.quantile(times, outer) - np.quantile(times, inner)))
