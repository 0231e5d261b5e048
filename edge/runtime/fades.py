"""Mixes what is played: from dry to wet and back, from gains to gains, over a jump, always by a fade."""

from __future__ import annotations

import numpy as np

FADE_SECONDS = 0.005


class Fades:
    """Blocks of results (n, results) and of the captured audio (n, channels) to what is played (n, outputs), float32.

    The audio thread calls `mix`, which allocates nothing of a block's size.
    """

    def __init__(self, rate: int, block: int, channels: int, results: int, outputs: int):
        self.frames = min(max(1, round(FADE_SECONDS * rate)), block)
        self._other = np.zeros((block, outputs), np.float32)  # the other side of a fade
        self._weight, self._ramp = np.zeros((2, block, 1), np.float32)
        self._steps = np.arange(block, dtype=np.float32)[:, None]
        self._decay = np.zeros((block, 1), np.float32)
        self._decay[: self.frames, 0] = np.linspace(1, 0, self.frames, endpoint=False)
        self._rise = np.minimum(1, (self._steps + 1) / self.frames)
        spread = np.eye(channels, outputs, dtype=np.float32) if channels > 1 else np.ones((1, outputs), np.float32)
        if channels > 1 and outputs == 1:
            spread = np.full((channels, 1), 1 / channels, np.float32)
        self._spread = spread
        self._last, self._jump = np.zeros((2, 1, outputs), np.float32)
        self.set_gains(np.ones(results // channels, np.float32))
        self.begin(1.0)

    def begin(self, wetness: float) -> None:
        """After silence, without a fade from what was before: 1 wet, 0 dry."""
        self._gains_now, self._wetness = self.gains, wetness
        self._last[:] = 0
        self.jumped = False  # what is mixed next does not follow what was mixed before

    def set_gains(self, gains: np.ndarray) -> None:
        """Gain of each source, float32 (sources,); changes fade."""
        # one matrix (sources * channels, outputs) mixes a frame
        matrix = np.concatenate([np.float32(gain) * self._spread for gain in gains])
        self.gains = np.ascontiguousarray(matrix, np.float32)

    def mix(self, out: np.ndarray, wet: np.ndarray, dry: np.ndarray, have: int, target: float) -> None:
        """Fill `out`, at most a block; `wet` ends after `have` frames, `target` is 1 for wet, 0 for dry."""
        gains = self.gains
        steady = have == len(out) and gains is self._gains_now and not self.jumped
        if steady and self._wetness == target == 1.0:
            np.matmul(wet, gains, out=out)
        elif steady and self._wetness == target == 0.0:
            np.matmul(dry, self._spread, out=out)
        else:
            wet[have:] = 0
            self._transition(out, wet, dry, have, gains, target)
        self._last[0] = out[-1]

    def _transition(
        self, out: np.ndarray, wet: np.ndarray, dry: np.ndarray, have: int, gains: np.ndarray, target: float
    ) -> None:
        count = len(out)
        other, weight, ramp = self._other[:count], self._weight[:count], self._ramp[:count]
        np.matmul(wet, gains, out=out)
        if gains is not self._gains_now:
            np.matmul(wet, self._gains_now, out=other)
            _blend(out, other, self._rise[:count])
            self._gains_now = gains
        direction = float(np.sign(target - self._wetness))
        np.add(self._steps[:count], 1, out=weight)
        weight *= direction / self.frames
        weight += self._wetness
        np.clip(weight, 0, 1, out=weight)
        if have < count:
            np.subtract(have, self._steps[:count], out=ramp)
            ramp /= self.frames
            np.clip(ramp, 0, 1, out=ramp)
            np.minimum(weight, ramp, out=weight)
        np.matmul(dry, self._spread, out=other)
        _blend(out, other, weight)
        # the result ended with the block before, or the position changed
        if self.jumped or abs(weight[0, 0] - self._wetness) > 1.5 / self.frames:
            self.jumped = False
            np.subtract(self._last, out[:1], out=self._jump)
            np.multiply(self._decay[:count], self._jump, out=other)
            out += other
        self._wetness = float(weight[-1, 0])


def _blend(out: np.ndarray, other: np.ndarray, weight: np.ndarray) -> None:
    """In place: `weight` of `out`, the rest of `other`."""
    out -= other
    out *= weight
    out += other
