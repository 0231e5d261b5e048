"""The live engine, without an audio device: a callback that moves samples, and a worker that runs the model.

Positions count frames of the captured audio at the device's rate. The frame captured at position p is played `delay`
frames after it, enhanced or separated where the result is there by then, dry otherwise. Nothing ever shifts: a
result that comes too late is not played at all.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace

import numpy as np

from edge.runtime.ring import Ring
from edge.runtime.session import Session
from edge.runtime.shaping import Attenuated, Shaping, shaped

FADE_SECONDS = 0.005
BEHIND_SECONDS = 2.0  # a worker that is further behind than this, beyond the delay, starts again at the present
_TIMES = 8192  # of the latest runs, kept for percentiles


@dataclass
class LiveCounts:
    """What happened so far; frames at the device's rate."""

    frames: int = 0  # played
    late_blocks: int = 0
    late_hops: int = 0
    late_frames: int = 0
    skips: int = 0  # times that the worker gave up what it had missed
    xruns: int = 0
    lost_frames: int = 0  # that the device captured and lost; a recording has silence for them
    reconnects: int = 0
    busy_seconds: float = 0.0
    worked_frames: int = 0

    @property
    def late_share(self) -> float:
        return self.late_frames / self.frames if self.frames else 0.0


class LiveEngine:
    """Connects a session with an audio callback.

    rate, block: of the device. outputs: channels played. compute: frames by which a result may come later than its
    input allows (0: within one block, which the delay always leaves). captures: False where the worker reads a file.
    Nothing but silence is played before `start`.
    """

    def __init__(
        self,
        session: Session,
        rate: int,
        block: int,
        outputs: int = 1,
        compute: int = 0,
        captures: bool = True,
        shaping: Shaping | None = None,
    ):
        self.session, self.rate, self.block, self.outputs = session, rate, block, outputs
        shaping = shaping or Shaping()
        self._converted = shaped(session, rate, replace(shaping, atten_limit=None), block)
        self._limited = None
        if session.shape_in == ():  # an enhancer, whose strength may change
            self._limited = self._converted = Attenuated(self._converted, shaping.atten_limit)
        channels = self.channels = math.prod(session.shape_in)
        results = math.prod(session.shape_out)
        sources = results // channels
        self.counts = LiveCounts()
        self.bypass = False
        model = -(-session.latency_samples * rate // session.sample_rate)
        self.conversion = max(0, self._converted.latency_samples - model)
        self.burst = 1
        self.delay = model + self.conversion + block + compute if captures else 0
        self._model_hop = session.hop * rate / session.sample_rate
        self._captures = captures
        self.capacity = 2 * (self.delay or model) + round((BEHIND_SECONDS + 2) * rate)
        self.captured = Ring(self.capacity, channels)
        self.played = Ring(self.capacity, outputs)  # as it went to the device, by position
        self._wet = Ring(self.capacity, results)
        self._chunk = np.zeros((block, channels), np.float32)
        self._wet_block = np.zeros((block, results), np.float32)
        self._dry_block = np.zeros((block, channels), np.float32)
        self._mixed = np.zeros((block, outputs), np.float32)  # the other side of a fade
        self._weight, self._ramp = np.zeros((2, block, 1), np.float32)
        self._fade = min(max(1, round(FADE_SECONDS * rate)), block)
        self._steps = np.arange(block, dtype=np.float32)[:, None]
        self._decay = np.zeros((block, 1), np.float32)
        self._decay[: self._fade, 0] = np.linspace(1, 0, self._fade, endpoint=False)
        self._rise = np.minimum(1, (self._steps + 1) / self._fade)
        spread = np.eye(channels, outputs, dtype=np.float32) if channels > 1 else np.ones((1, outputs), np.float32)
        if channels > 1 and outputs == 1:
            spread = np.full((channels, 1), 1 / channels, np.float32)
        self._spread = spread
        self.set_gains(np.ones(sources, np.float32))
        self._gains_now = self._gains
        self._wake = threading.Lock()
        self._wake.acquire()
        self._times = np.zeros(_TIMES, np.float32)
        self._runs = 0
        self.restart()

    def restart(self) -> None:
        """Start at position 0 (while neither callback nor worker runs); the counts go on."""
        self.position = 0  # of the next block to be captured
        self.total: int | None = None  # frames in all, once a file has ended
        self.started = False
        for ring in (self.captured, self.played, self._wet):
            ring.clear(-self.delay, 0)
        self.played.clear(-self.delay, -self.delay)
        self._begin(0)
        self._wetness = 1.0
        self._last, self._jump = np.zeros((2, 1, self.outputs), np.float32)
        self._last_late_hop = -1
        self._longer, self._jumped = 0, False

    def start(self, burst: int = 1) -> None:
        """Play from now on. `burst`: blocks that the device takes at a time, hence as good as one larger block."""
        if self._captures:
            self.delay += (burst - self.burst) * self.block
            self.burst = burst
            self.captured.clear(-self.delay, 0)
            self._wet.clear(-self.delay, 0)
            self.played.clear(-self.delay, -self.delay)
        self._gains_now, self._wetness = self._gains, 0.0 if self.bypass else 1.0
        self.started = True

    def lengthen(self) -> None:
        """Play a block later from the next one on, as a larger burst would; what was just played comes once more."""
        self._longer += 1

    @property
    def round_trip(self) -> int:
        """Frames from the microphone to the loudspeaker, the device's own buffers apart."""
        return self.delay + self.burst * self.block

    @property
    def rtf(self) -> float:
        """Time spent in the worker / its audio."""
        return self.counts.busy_seconds / max(1, self.counts.worked_frames) * self.rate

    def percentiles(self) -> dict[str, float]:
        """Seconds that the latest pieces of work took."""
        times = self._times[: min(self._runs, _TIMES)]
        if not len(times):
            return {}
        return {f"p{q}": float(np.percentile(times, q)) for q in (50, 95, 99)}

    def set_gains(self, gains: np.ndarray) -> None:
        """Gain of each source, float32 (sources,); changes fade."""
        # one matrix (sources * channels, outputs) mixes a frame
        matrix = np.concatenate([np.float32(gain) * self._spread for gain in gains])
        self._gains = np.ascontiguousarray(matrix, np.float32)

    def set_limit(self, limit: float | None) -> None:
        """The most that an enhancer takes away, in dB; None: all. Changes fade."""
        if self._limited is not None:
            self._limited.set_limit(limit)

    # The audio thread

    def callback(self, captured: np.ndarray | None, played: np.ndarray) -> None:
        """Take float32 (n, at least the model's channels, or 1), n <= block, and fill `played` (n, outputs).

        `captured` is None where the worker reads a file. Neither allocates nor waits nor runs the model.
        """
        count = len(played)
        if not self.started:
            played.fill(0)
            return
        if captured is not None:
            self.captured.write(captured[:, : self.channels])
        if self._longer:
            self._longer, self.burst, self.delay = self._longer - 1, self.burst + 1, self.delay + self.block
            self._jumped = True
        start = self.position - self.delay
        self.position += count
        count = self._play(start, played)
        again = min(count, max(0, self.played.end - start))
        self.played.write(played[again:count])
        self.counts.frames += count
        if self._wake.locked():
            self._wake.release()

    def _play(self, start: int, out: np.ndarray) -> int:
        """Mix the frames from position `start` on into `out`; returns how many there were before the end."""
        count = len(out) if self.total is None else max(0, min(len(out), self.total - start))
        out[count:] = 0
        if count == 0:
            return 0
        out, wet, dry = out[:count], self._wet_block[:count], self._dry_block[:count]
        have = self._wet.read(start, wet)
        gains, target = self._gains, 0.0 if self.bypass else 1.0
        steady = have == count and gains is self._gains_now and not self._jumped
        if steady and self._wetness == target == 1.0:
            np.matmul(wet, gains, out=out)
        elif steady and self._wetness == target == 0.0:
            self.captured.read(start, dry)
            np.matmul(dry, self._spread, out=out)
        else:
            wet[have:] = 0
            self.captured.read(start, dry)
            self._transition(out, wet, dry, have, gains, target)
        self._last[0] = out[-1]
        if have < count:
            self._count_late(start + have, start + count)
        return count

    def _transition(
        self, out: np.ndarray, wet: np.ndarray, dry: np.ndarray, have: int, gains: np.ndarray, target: float
    ) -> None:
        """Fade between dry and wet, and between gains; `wet` ends after `have` frames."""
        count = len(out)
        other, weight, ramp = self._mixed[:count], self._weight[:count], self._ramp[:count]
        np.matmul(wet, gains, out=out)
        if gains is not self._gains_now:
            np.matmul(wet, self._gains_now, out=other)
            _blend(out, other, self._rise[:count])
            self._gains_now = gains
        direction = float(np.sign(target - self._wetness))
        np.add(self._steps[:count], 1, out=weight)
        weight *= direction / self._fade
        weight += self._wetness
        np.clip(weight, 0, 1, out=weight)
        if have < count:
            np.subtract(have, self._steps[:count], out=ramp)
            ramp /= self._fade
            np.clip(ramp, 0, 1, out=ramp)
            np.minimum(weight, ramp, out=weight)
        np.matmul(dry, self._spread, out=other)
        _blend(out, other, weight)
        # the result ended with the block before, or the position went back
        if self._jumped or abs(weight[0, 0] - self._wetness) > 1.5 / self._fade:
            self._jumped = False
            np.subtract(self._last, out[:1], out=self._jump)
            np.multiply(self._decay[:count], self._jump, out=other)
            out += other
        self._wetness = float(weight[-1, 0])

    def _count_late(self, start: int, end: int) -> None:
        counts = self.counts
        counts.late_blocks += 1
        counts.late_frames += end - start
        first = max(int(start / self._model_hop), self._last_late_hop + 1)
        last = int((end - 1) / self._model_hop)
        counts.late_hops += max(0, last - first + 1)
        self._last_late_hop = max(last, self._last_late_hop)

    # The worker

    def wait(self, seconds: float) -> None:
        """Until the callback came, at most so long."""
        self._wake.acquire(timeout=seconds)

    def work(self) -> bool:
        """Take at most one block of captured audio through the model; False where there is none."""
        waiting = self.captured.end - self._taken
        if waiting <= 0:
            return False
        if self._captures and waiting > self.delay + BEHIND_SECONDS * self.rate:
            self.counts.skips += 1
            self._begin(self.captured.end)
            return True
        count = min(waiting, self.block)
        if not self.captured.read(self._taken, self._chunk[:count], spare=self.block):
            self._begin(self.captured.end)
            self.counts.skips += 1
            return True
        started = time.perf_counter()
        self._wet.write(_frames(self._converted.process(self._samples(self._chunk[:count]))))
        seconds = time.perf_counter() - started
        self._taken += count
        self._times[self._runs % _TIMES] = seconds
        self._runs += 1
        self.counts.busy_seconds += seconds
        self.counts.worked_frames += count
        return True

    def finish(self) -> None:
        """After the last frame of a file was worked on: the rest of the results."""
        self._wet.write(_frames(self._converted.flush()))
        self.total, self.started = self.captured.end, True

    @property
    def worked(self) -> int:
        """Position up to which results are there."""
        return self._wet.end

    def _begin(self, position: int) -> None:
        """Process from `position` on, from a fresh state; what lies before stays dry."""
        self._converted.reset()
        if position:
            self._wet.clear(position, position)
        self._taken = position

    def _samples(self, audio: np.ndarray) -> np.ndarray:
        """(n, channels) as the session takes them."""
        return audio.T.reshape(*self.session.shape_in, len(audio))


def _frames(result: np.ndarray) -> np.ndarray:
    """(..., n) to (n, sources * channels)."""
    return result.reshape(math.prod(result.shape[:-1]), result.shape[-1]).T


def _blend(out: np.ndarray, other: np.ndarray, weight: np.ndarray) -> None:
    """In place: `weight` of `out`, the rest of `other`."""
    out -= other
    out *= weight
    out += other
