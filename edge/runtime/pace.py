"""How far playing is behind capturing: two devices have two clocks, and either may pause or lose something."""

from __future__ import annotations

import numpy as np

SECONDS = 1.0  # of plays that are looked at
SPARE = 0.01  # seconds that the worker has more than it needed, idle; a block at least, as it works by blocks
TOLERANCE = 0.02  # seconds by which sound may be later than it has to be
SOON, MUCH = 0.25, 0.2  # seconds of plays after which so much of it is too late


class Pace:
    """Distances, in frames, from what was just played to what is captured, and to what the worker has taken of it.

    One audio thread calls `add`, another thread all else.
    """

    def __init__(self, rate: int, block: int):
        self._block, self._tolerance = block, max(2 * block, round(TOLERANCE * rate))
        self._spare = max(block, round(SPARE * rate))
        self._soon, self._much = max(8, round(SOON * rate / block)), round(MUCH * rate)
        self._distances = np.zeros((2, max(8, 2 * round(SECONDS * rate / block / 2))), np.int64)
        self.restart()

    def restart(self) -> None:
        """Know nothing."""
        self._plays = self._since = 0
        self._usual = (0, 0)  # the least distance to what is captured, and the median

    def add(self, captured: int, taken: int) -> None:
        """The distances after a block was played."""
        self._distances[:, self._plays % self._distances.shape[1]] = captured, taken
        self._plays += 1

    def lead(self, delay: int) -> int:
        """Frames between what is captured and what is played next to it, by which nothing of the last second had come
        too late; `delay` where capturing and playing take turns. With it, distances are as usual from then on."""
        usual, least, spare = (0, 0), -self._block, 0
        if self._known:
            usual, least, spare = self._now, int(self._distances[1].min()), self._spare
        lead = delay - self._block + spare - least
        self._usual = usual
        self.shift(lead)
        return lead

    def shift(self, frames: int = 0) -> None:
        """Look at nothing of before; from now on usual distances are greater by so much."""
        self._usual = (self._usual[0] + frames, self._usual[1] + frames)
        self._since = self._plays + 2  # one play may be under way

    @property
    def far(self) -> int:
        """Frames by which a whole second was further behind than usual, beyond what is tolerated; else 0.

        Where these are many, less than a second tells.
        """
        for count, tolerance in ((self._soon, self._much), (self._distances.shape[1], self._tolerance)):
            if self._plays - self._since >= count:
                far = int(self._latest(count).min()) - self._usual[0]
                if far > tolerance:
                    return far
        return 0

    @property
    def near(self) -> int:
        """Frames by which both halves of a second were nearer than usual, and some that last for a while; else 0."""
        if not self._known:
            return 0
        latest = self._latest(self._distances.shape[1])
        before, now = np.median(latest.reshape(2, -1), axis=1)
        steady = abs(before - now) <= self._tolerance
        if not steady or self._usual[1] - max(before, now) < self._block // 2:
            return 0
        return self._usual[1] - int(now) + self._tolerance // 2

    def _latest(self, count: int) -> np.ndarray:
        """To what was captured, oldest first."""
        plays, distances = self._plays, self._distances[0]
        return distances[np.arange(plays - count, plays) % len(distances)]

    @property
    def _known(self) -> bool:
        return self._plays - self._since >= self._distances.shape[1]

    @property
    def _now(self) -> tuple[int, int]:
        return int(self._distances[0].min()), int(np.median(self._distances[0]))
