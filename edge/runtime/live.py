"""The live engine, without an audio device: two callbacks that move samples, and a worker that runs the model.

Positions count frames of the captured audio at the device's rate. The frame captured at position p is played `lead`
frames after it by the counts of the two devices, enhanced or separated where the result is there by then, dry
otherwise. Nothing shifts with the load: a result that comes too late is not played at all. Only where the devices
themselves move apart, as one of them pauses or their clocks differ, playing jumps back to its place.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import numpy as np

from edge.runtime.fades import Fades
from edge.runtime.livecounts import LiveCounts
from edge.runtime.pace import Pace
from edge.runtime.ring import Ring
from edge.runtime.session import Session
from edge.runtime.shaping import Attenuated, Shaping, shaped

BEHIND_SECONDS = 2.0  # a worker that is further behind than this, beyond the delay, starts again at the present
SWING_SECONDS = 30.0  # after a jump forward none goes back: a busy machine swings to and fro, clocks do not
_TIMES = 8192  # of the latest runs, kept for percentiles


class LiveEngine:
    """Connects a session with two audio callbacks, `capture` and `play`, that may come from two threads.

    rate, block: of the devices. outputs: channels played. compute: frames by which a result may come later than its
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
        self.counts = LiveCounts()
        self.bypass = False
        model = -(-session.latency_samples * rate // session.sample_rate)
        self.conversion = max(0, self._converted.latency_samples - model)
        self._least_delay = model + self.conversion + block + compute if captures else 0
        self._model_hop = session.hop * rate / session.sample_rate
        self.captures = captures
        self.capacity = 2 * (self._least_delay or model) + round((BEHIND_SECONDS + 2) * rate)
        self.captured = Ring(self.capacity, channels)
        self.played = Ring(self.capacity, outputs)  # as it went to the device, by position
        self._wet = Ring(self.capacity, results)
        self._chunk = np.zeros((block, channels), np.float32)
        self._wet_block = np.zeros((block, results), np.float32)
        self._dry_block = np.zeros((block, channels), np.float32)
        self.fades = Fades(rate, block, channels, results, outputs)
        self.pace = Pace(rate, block)
        self._wake = threading.Lock()
        self._wake.acquire()
        self._times = np.zeros(_TIMES, np.float32)
        self._runs = 0
        self._forward_at = -math.inf  # frames played when playing last jumped forward
        self.restart()

    def restart(self) -> None:
        """Start at position 0 (while neither callbacks nor worker run); the counts go on."""
        self.delay = self.lead = self._least_delay
        self.position = 0  # of the next frame to be played
        self.total: int | None = None  # frames in all, once a file has ended
        self.started = self._playing = False
        self._unheard: int | None = None  # frames captured before position 0
        self._heard = self._noticed = self._sounded = 0  # frames captured, known to the worker, played, of before
        for ring in (self.captured, self._wet):
            ring.clear(-self.capacity, 0)
        self.played.clear(0, 0)
        self.pace.restart()
        self._begin(0)
        self.counts.restart()
        self._shift, self._whole = 0, True

    def start(self) -> None:
        """Play from now on, as soon after what is captured as the second before this has shown to be safe."""
        if self.captures:
            self.lead = self.pace.lead(self.delay)
        self.fades.begin(0.0 if self.bypass else 1.0)
        self.started = True

    def lengthen(self) -> None:
        """Play a block later from the next one on; what was just played comes once more."""
        self.delay += self.block
        self.pace.shift(self.block)
        self._shift = -self.block

    def follow(self, late: bool = False) -> bool:
        """Jump back to the usual distance where the devices have moved apart; whether they had.

        late: results come late, so it matters, too, where they have come nearer.
        """
        shift = self.pace.far
        if shift:
            self._forward_at = self.counts.frames
        elif late and self.counts.frames - self._forward_at > SWING_SECONDS * self.rate:
            shift = -self.pace.near
        if shift == 0:
            return False
        self.counts.jumps += 1
        self.pace.shift()
        self._shift = shift
        return True

    @property
    def spare(self) -> int:
        """Frames by which `lengthen` has made the delay longer."""
        return self.delay - self._least_delay

    @property
    def heard(self) -> int:
        """Position of the next frame to be captured."""
        return self.captured.end

    @property
    def round_trip(self) -> int:
        """Frames from the microphone to the loudspeaker, the devices' own buffers apart."""
        return self.delay + self.block

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
        self.fades.set_gains(gains)

    def set_limit(self, limit: float | None) -> None:
        """The most that an enhancer takes away, in dB; None: all. Changes fade."""
        if self._limited is not None:
            self._limited.set_limit(limit)

    # The audio threads: neither callback allocates, waits or runs the model

    def capture(self, block: np.ndarray) -> None:
        """Take float32 (n, at least the model's channels, or 1), n <= the block."""
        if not self.started:
            self._heard += len(block)
        else:
            self.captured.write(block[:, : self.channels])
            if self._unheard is None:
                self._unheard = self._heard
        if self._wake.locked():
            self._wake.release()

    def play(self, out: np.ndarray) -> None:
        """Fill float32 (n, outputs), n <= the block."""
        count = len(out)
        if not self._playing and not self._begin_to_play():
            out.fill(0)
            self._sounded += count
            if not self.started:  # else distances have the lead
                self.pace.add(self._heard - self._sounded, self._noticed - self._sounded)
            return
        if self._shift:
            shift, self._shift = self._shift, 0
            self.position, self.lead = self.position + shift, self.lead - shift
            self.fades.jumped = True
            if self.position > self.played.end:
                self.counts.jumped_frames += self.position - self.played.end
                self.played.skip(self.position)
        start = self.position
        count = self._play(start, out)
        again = min(count, max(0, self.played.end - start))
        self.played.write(out[again:count])
        self.position += len(out)
        self.counts.frames += count
        if self.captures:
            self.pace.add(self.captured.end - self.position, self._taken - self.position)
        elif self._wake.locked():
            self._wake.release()

    def _begin_to_play(self) -> bool:
        """Whether there is something to play, from `position` on."""
        if self.captures and self._unheard is not None:
            self.position = self._sounded - self._unheard - self.lead
            self.played.clear(self.position, self.position)
            self._playing = True
        elif not self.captures:
            self._playing = self.started
        return self._playing

    def _play(self, start: int, out: np.ndarray) -> int:
        """Mix the frames from position `start` on into `out`; returns how many there were before the end."""
        count = len(out) if self.total is None else max(0, min(len(out), self.total - start))
        out[count:] = 0
        if count == 0:
            return 0
        wet, dry = self._wet_block[:count], self._dry_block[:count]
        have = self._wet.read(start, wet)
        whole = self.captured.read(start, dry, spare=self.block) == count
        if not whole:  # not captured yet, or long gone
            dry.fill(0)
            have = 0
        if whole != self._whole:
            self._whole, self.fades.jumped = whole, True
        self.fades.mix(out[:count], wet, dry, have, 0.0 if self.bypass else 1.0)
        if have < count:
            self.counts.late(start + have, start + count, self._model_hop)
        return count

    # The worker

    def wait(self, seconds: float) -> None:
        """Until a callback came, at most so long."""
        self._wake.acquire(timeout=seconds)

    def work(self) -> bool:
        """Take at most one block of captured audio through the model; False where there is none."""
        self._noticed = self._heard
        waiting = self.captured.end - self._taken
        if waiting <= 0:
            return False
        if self.captures and waiting > self.delay + BEHIND_SECONDS * self.rate:
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
