"""Latency as it is: sounds that are played come back by a cable, or by a sound server's null sink, and are found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.errors import EdgeError
from edge.runtime.livecounts import LiveCounts
from edge.runtime.pace import Pace

CLICKS, APART, LENGTH = 8, 0.4, 0.02  # clicks, and seconds between them and of each
LISTEN = 4.0  # seconds after the last one: a sound server may keep two
LIKENESS = 0.5  # of a click to what came back, from which on it is the click
_LEVEL, _SILENT = 0.25, 1e-4


@dataclass(frozen=True)
class Loop:
    """Frames that devices add to an engine's delay: the median of the clicks found, the least and the most."""

    frames: int
    least: int
    most: int
    found: int


class ClickPlayer:
    """Takes the place of a LiveEngine on a device: plays clicks and keeps what comes in.

    It has no worker, so its lead lacks the time in which a LiveEngine's is woken.
    """

    def __init__(self, rate: int, block: int, outputs: int = 1, seed: int = 0):
        """rate in Hz, block in frames. Each click is a noise of its own, so late ones are not taken for others."""
        self.rate, self.block, self.outputs = rate, block, outputs
        self.counts = LiveCounts()
        length = round(LENGTH * rate)
        noise = np.random.default_rng(seed).uniform(-_LEVEL, _LEVEL, (CLICKS, length))
        self._clicks = (noise * np.hanning(length)).astype(np.float32)
        self._starts = [round((k + 1) * APART * rate) for k in range(CLICKS)]
        self._played = np.zeros(self._starts[-1] + round(LISTEN * rate) + block, np.float32)
        for start, click in zip(self._starts, self._clicks, strict=True):
            self._played[start : start + length] = click
        self._captured = np.zeros_like(self._played)
        self.pace = Pace(rate, block)
        self.delay = self.lead = self.heard = 0  # frames; `heard`: of what is kept
        self._sounded = 0
        self._heard_before = self._sounded_before = 0  # while nothing was played yet
        self.started = False

    def start(self, delay: int) -> None:
        """Play the clicks; an engine of this delay would begin now."""
        self.delay, self.lead = delay, self.pace.lead(delay)
        self.started = True

    @property
    def ended(self) -> bool:
        return self._sounded + self.block > len(self._played)

    def capture(self, block: np.ndarray) -> None:
        """As LiveEngine's: float32 (n, channels)."""
        if not self.started:
            self._heard_before += len(block)
            return
        kept = self._captured[self.heard : self.heard + len(block)]
        kept[:] = block[: len(kept), 0]
        self.heard += len(block)

    def play(self, out: np.ndarray) -> None:
        """As LiveEngine's: fills float32 (n, outputs)."""
        count = len(out)
        out.fill(0)
        if not self.heard:
            self._sounded_before += count
            distance = self._heard_before - self._sounded_before
            self.pace.add(distance, distance)
        elif not self.ended:
            out[:] = self._played[self._sounded : self._sounded + count, None]
            self._sounded += count

    def result(self) -> Loop:
        """Raises EdgeError where less than half of the clicks came back."""
        delays = [
            delay
            for start, click in zip(self._starts, self._clicks, strict=True)
            if (delay := _delay(self._captured[start:], click)) is not None
        ]
        if len(delays) < CLICKS / 2:
            peak = float(np.abs(self._captured).max())
            why = "nothing came in" if peak < _SILENT else "what came in is something else"
            raise EdgeError(
                f"{len(delays)} of {CLICKS} clicks came back from the output to the input ({why}): connect them by a "
                "cable or a null sink (--output SINK --input its monitor), and turn echo cancelling off"
            )
        more = self._heard_before - self._sounded_before + self.lead - self.delay
        return Loop(int(np.median(delays)) + more, min(delays) + more, max(delays) + more, len(delays))


def _delay(heard: np.ndarray, click: np.ndarray) -> int | None:
    """Frames after which float32 (n,) is most like the click; None where it is not like it."""
    size = len(heard) + len(click)
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(click, size)), size)
    ends = np.concatenate([[0.0], np.cumsum(heard.astype(np.float64) ** 2)])
    places = len(heard) - len(click) + 1
    energy = ends[len(click) :] - ends[:places]
    floor = len(click) * _SILENT**2
    likeness = np.abs(products[:places]) / np.sqrt(np.maximum(energy, floor) * np.sum(click.astype(np.float64) ** 2))
    best = int(np.argmax(likeness))
    return best if likeness[best] >= LIKENESS else None
