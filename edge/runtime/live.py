"""The live engine, without an audio device: a callback that moves samples, and a worker that runs the model.

Positions count frames of the captured audio at the device's rate. The frame captured at position p is played `delay`
frames after it, enhanced or separated where the result is there by then, dry otherwise. Nothing ever shifts: a
result that comes too late is not played at all.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

from edge.audio import Resampler
from edge.runtime.ring import Ring
from edge.runtime.session import Session

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
    reconnects: int = 0
    busy_seconds: float = 0.0
    worked_frames: int = 0

    @property
    def late_share(self) -> float:
        return self.late_frames / self.frames if self.frames else 0.0


class LiveEngine:
    """Connects a session with an audio callback.

    channels: of the model's input. sources: stems a frame has (1: enhancer). outputs: channels played. hop: of the
    model, by which late results are counted. compute: frames by which a result may come later than its input allows
    (0: within one block, which the delay always leaves). captures: False where the worker reads a file.
    Nothing but silence is played before `start`.
    """

    def __init__(
        self,
        session: Session,
        rate: int,
        block: int,
        channels: int = 1,
        sources: int = 1,
        outputs: int = 1,
        hop: int | None = None,
        compute: int = 0,
        captures: bool = True,
    ):
        self.session, self.rate, self.block = session, rate, block
        self.channels, self.sources, self.outputs = channels, sources, outputs
        self.counts = LiveCounts()
        self.bypass = False
        self.conversion = 0 if rate == session.sample_rate else _conversion_lag(session, rate, block)
        model = -(-session.latency_samples * rate // session.sample_rate)
        self.burst = 1
        self.delay = model + self.conversion + block + compute if captures else 0
        self._model_hop = (hop or session.latency_samples) * rate / session.sample_rate
        self._captures = captures
        self.capacity = 2 * (self.delay or model) + round((BEHIND_SECONDS + 2) * rate)
        self.captured = Ring(self.capacity, channels)
        self.played = Ring(self.capacity, outputs)  # as it went to the device, by position
        self._wet = Ring(self.capacity, sources * channels)
        self._chunk = np.zeros((block, channels), np.float32)
        self._wet_block = np.zeros((block, sources * channels), np.float32)
        self._dry_block = np.zeros((block, channels), np.float32)
        self._spare = np.zeros((block, outputs), np.float32)
        self._fade = min(max(1, round(FADE_SECONDS * rate)), block)
        self._steps = np.arange(block, dtype=np.float32)
        self._decay = np.zeros((block, 1), np.float32)
        self._decay[: self._fade, 0] = np.linspace(1, 0, self._fade, endpoint=False)
        self._rise = np.minimum(1, (self._steps[:, None] + 1) / self._fade)
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
        self.session.reset()
        self.position = 0  # of the next block to be captured
        self.total: int | None = None  # frames in all, once a file has ended
        self.started = False
        for ring in (self.captured, self.played, self._wet):
            ring.clear(-self.delay, 0)
        self.played.clear(-self.delay, -self.delay)
        self._begin(0)
        self._wetness = 1.0
        self._last = np.zeros((1, self.outputs), np.float32)
        self._last_late_hop = -1

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
        start = self.position - self.delay
        self.position += count
        count = self._play(start, played)
        self.played.write(played[:count])
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
        steady = have == count and gains is self._gains_now
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
        count, steps = len(out), self._steps[: len(out), None]
        np.matmul(wet, gains, out=out)
        if gains is not self._gains_now:
            old = np.matmul(wet, self._gains_now)
            out[:] = old + self._rise[:count] * (out - old)
            self._gains_now = gains
        direction = np.sign(target - self._wetness)
        weight = np.clip(self._wetness + direction * (steps + 1) / self._fade, 0, 1)
        if have < count:
            weight = np.minimum(weight, np.clip((have - steps) / self._fade, 0, 1))
        plain = np.matmul(dry, self._spread)
        out[:] = plain + weight * (out - plain)
        if abs(weight[0, 0] - self._wetness) > 1.5 / self._fade:  # the result ended with the block before
            out += self._decay[:count] * (self._last - out[:1])
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
        self._wet.write(self._up.process(self._through(self._down.process(self._chunk[:count]))))
        seconds = time.perf_counter() - started
        self._taken += count
        self._times[self._runs % _TIMES] = seconds
        self._runs += 1
        self.counts.busy_seconds += seconds
        self.counts.worked_frames += count
        return True

    def finish(self) -> None:
        """After the last frame of a file was worked on: the rest of the results."""
        self._wet.write(self._up.process(self._through(self._down.flush())))
        self._wet.write(self._up.process(self._frames(self.session.flush())))
        self._wet.write(self._up.flush())
        missing = self.captured.end - self._wet.end
        if missing > 0:  # resampling there and back may round by a few samples
            self._wet.write(np.zeros((missing, self._wet.channels), np.float32))
        self.total, self.started = self.captured.end, True

    @property
    def worked(self) -> int:
        """Position up to which results are there."""
        return self._wet.end

    def _begin(self, position: int) -> None:
        """Process from `position` on, from a fresh state; what lies before stays dry."""
        if position:
            self.session.reset()
            self._wet.clear(position, position)
        self._taken = position
        self._down = Resampler(self.rate, self.session.sample_rate, self.channels)
        self._up = Resampler(self.session.sample_rate, self.rate, self.sources * self.channels)

    def _through(self, audio: np.ndarray) -> np.ndarray:
        samples = audio[:, 0] if self.sources == 1 else audio.T
        return self._frames(self.session.process(samples))

    def _frames(self, result: np.ndarray) -> np.ndarray:
        """(..., n) to (n, sources * channels)."""
        return result.reshape(self.sources * self.channels, -1).T


def _conversion_lag(session: Session, rate: int, block: int) -> int:
    """Frames at `rate` by which converting to the session's rate and back delays, at most, in blocks."""
    model, fed, given, worst = session.latency_samples, 0, 0, 0
    down, up = Resampler(rate, session.sample_rate, 1), Resampler(session.sample_rate, rate, 1)
    zeros = np.zeros((block, 1), np.float32)
    # `model` samples rest in the session; a second is many periods of any pair of rates
    resting = model
    while fed < rate + model * rate / session.sample_rate:
        converted = down.process(zeros)
        fed += block
        passed = max(0, len(converted) - resting)
        resting -= len(converted) - passed
        given += len(up.process(converted[:passed]))
        worst = max(worst, fed - given)
    return max(0, worst - int(model * rate / session.sample_rate))
