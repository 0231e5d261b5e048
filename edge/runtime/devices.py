"""Sound devices by PortAudio: opens a stream on an engine's callback, sees it vanish and opens it again."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edge.errors import EdgeError
from edge.runtime.captureclock import CaptureClock, Lateness
from edge.runtime.live import LiveEngine
from edge.runtime.loopback import ClickPlayer
from edge.runtime.portaudio import one_line, portaudio

STALLED_SECONDS = 2.0  # without a callback: the device has vanished
LOOK_SECONDS = 0.25  # that one look counts for: where more have passed, this process itself did not run
BACKLOG_SECONDS = 0.5  # no microphone is so late; a sound server that made the output wait kept what came meanwhile
CLOSE_SECONDS = 2.0  # a lost device may never close
REOPEN_SECONDS = 20.0
_CALLS = 256  # looked at for bursts
SETTLING_SECONDS = 1.0  # of callbacks without a pause, before the device's habits count
PAUSE_SECONDS = 0.5  # a sound server takes its first buffers and then may wait so long, or four times as long
STARTS = 3  # at most, until an input is in time
SILENT_BLOCK, SILENT_BUFFER = 0.05, 0.1  # seconds, of the silence beside a stream


class DeviceStream:
    """An engine on its devices: `open`, `poll` now and then, and `reopen` where they have vanished."""

    def __init__(
        self,
        engine: LiveEngine | ClickPlayer,
        source: int | str | None,
        target: int | str | None,
        inputs: int,
        buffer: float | None = None,
    ):
        """`inputs` 0: nothing is captured. `buffer`: seconds that the devices may buffer (default: two blocks)."""
        self.engine = engine
        self._devices, self._inputs, self._buffer = (source, target), inputs, buffer
        self._sound = portaudio()
        self._stream: Any = None
        self._silence: Any = None
        self._calls = self._seen = 0
        self._looked_at = self._still = 0.0  # seconds without a callback
        self._call_times = np.zeros(_CALLS)
        self._shifts = np.zeros(_CALLS)  # our clock - the devices', which may be set while no stream runs
        self._first_call = 0  # since the stream was opened
        self._clock, self._lateness = CaptureClock(1, 1), Lateness()  # of the stream
        self.lost = self._hangs = False
        self._reported = 0.0  # seconds of latency, in and out, as PortAudio says before it runs

    def open(self) -> None:
        """Open and start; EdgeError where the devices refuse."""
        engine, (source, target) = self.engine, self._devices
        self._clock = CaptureClock(engine.rate, engine.block, self._clock.side)
        self._lateness = Lateness()
        # two blocks: with more, PortAudio serves several blocks at a time, which the engine has to wait for
        latency = self._buffer or 2 * engine.block / engine.rate
        options: dict[str, Any] = {
            "samplerate": engine.rate,
            "blocksize": engine.block,
            "dtype": "float32",
            "latency": latency,
        }
        try:
            if self._inputs:
                self._stream = self._sound.Stream(
                    device=(source, target),
                    channels=(self._inputs, engine.outputs),
                    callback=self._duplex,
                    **options,
                )
                self._reported = sum(self._stream.latency)
            else:
                self._stream = self._sound.OutputStream(
                    device=target, channels=engine.outputs, callback=self._playback, **options
                )
                self._reported = self._stream.latency
            self._stream.start()
        except (self._sound.PortAudioError, ValueError) as error:
            self.close()
            raise EdgeError(f"the sound device does not open: {one_line(error)}") from error
        self._first_call = self._seen = self._calls
        self._looked_at, self._still = time.monotonic(), 0.0
        self.lost = False
        if sys.platform == "linux":
            self._keep_awake()

    def _keep_awake(self) -> None:
        """Play silence beside the stream, also while that is opened again.

        A server's sink without a player rests for up to two seconds at a time: the next stream would wait for it, and
        what the microphone hears meanwhile be read late.
        """
        if self._active(self._silence):
            return
        self._end(self._silence)
        rate = self.engine.rate
        with contextlib.suppress(self._sound.PortAudioError, ValueError):  # not every device opens twice
            self._silence = self._sound.OutputStream(
                device=self._devices[1],
                channels=self.engine.outputs,
                callback=_silent,
                samplerate=rate,
                blocksize=round(SILENT_BLOCK * rate),
                latency=SILENT_BUFFER,
                dtype="float32",
            )
            self._silence.start()

    @property
    def began(self) -> float:
        """`time.perf_counter()` when the engine's position 0 was captured; only after a callback."""
        return self._clock.began + self._shift

    @property
    def _shift(self) -> float:
        calls = np.arange(max(self._first_call, self._calls - _CALLS), self._calls)
        return float(self._shifts[calls % _CALLS].min())  # a callback may run late, but not early

    @property
    def unsure_from(self) -> int | None:
        """The engine's position from which on it is not known yet what the device lost."""
        return self._clock.unsure_from

    def losses(self, final: bool = False) -> list[tuple[int, int]]:
        """What the device is now known to have lost: (the engine's position, frames before it); counted, too."""
        found = self._clock.losses(final)
        self.engine.counts.lost_frames += sum(frames for _, frames in found)
        return found

    @property
    def latency(self) -> float:
        """Seconds that the devices' buffers add to the engine's round trip, by the times that they tell."""
        blocks = self.engine.burst * self.engine.block / self.engine.rate
        return max(0.0, self.round_trip - blocks) or self._reported

    @property
    def round_trip(self) -> float:
        """Seconds from the microphone to the loudspeaker of what is played at once, by the times that devices tell."""
        return self._lateness.round_trip

    @property
    def backlog(self) -> float:
        """Seconds of what was captured that wait to be read, where these are so many that only a new start helps."""
        late = self._lateness.of_input
        return late if late > BACKLOG_SECONDS + (self._buffer or 0) else 0.0

    def ready(self) -> None:
        """`settle`, and start again where the stream broke off at once or a server kept the microphone's past.

        It is lost where it does not run even so.
        """
        self.settle()
        for _ in range(STARTS - 1):
            if self._plays and not self.backlog:
                return
            try:
                self.renew()
            except EdgeError:
                break
        if not self._plays:
            self.drop()

    def renew(self, between: Callable[[], None] = lambda: None) -> None:
        """Open the devices afresh, without what they kept; `between` is called while neither plays. EdgeError: `open`.

        Unlike `reopen` it takes the devices for there.
        """
        stream, self._stream = self._stream, None
        self._end(stream)
        between()
        self.open()
        self.settle()

    def settle(self, most: float = 5.0) -> None:
        """Wait until callbacks came for a second without a pause, at most `most` seconds."""
        until = time.monotonic() + most
        while time.monotonic() < until:
            time.sleep(0.05)
            times = self._settled()
            if len(times) > 1 and times[-1] - times[0] >= SETTLING_SECONDS:
                return

    def _settled(self) -> np.ndarray:
        """Times of the latest callbacks, those since the last pause."""
        calls = self._calls
        times = self._call_times[np.arange(max(self._first_call, calls - _CALLS + 1), calls) % _CALLS]
        pauses = np.flatnonzero(np.diff(times) > PAUSE_SECONDS)
        return times[pauses[-1] + 1 :] if len(pauses) else times

    def burst(self) -> int:
        """Blocks that the device takes at a time, by the times of the callbacks that `settle` waited for.

        PortAudio may serve several blocks from one larger buffer of the system, one right after the other.
        """
        times = self._settled()
        if len(times) < 4:
            return 1
        ends = np.flatnonzero(np.diff(times) > 0.25 * self.engine.block / self.engine.rate)
        sizes = np.diff(ends)  # whole bursts only
        return int(np.ceil(np.percentile(sizes, 95))) if len(sizes) else len(times)

    def poll(self) -> bool:
        """Whether audio runs; where it does not, the stream is closed and waits for `reopen`."""
        now = time.monotonic()
        passed, self._looked_at = now - self._looked_at, now
        self._still = 0.0 if self._calls != self._seen else self._still + min(passed, LOOK_SECONDS)
        self._seen = self._calls
        if not self.lost:
            if self._active(self._stream) and self._still < STALLED_SECONDS:
                return True
            self.drop()
        return False

    @property
    def _plays(self) -> bool:
        return self._active(self._stream) and self._calls > self._first_call

    def _active(self, stream: Any) -> bool:
        with contextlib.suppress(self._sound.PortAudioError):
            return stream is not None and bool(stream.active)
        return False

    def drop(self) -> None:
        """Close the stream, which waits for `reopen`."""
        self.close()
        self.lost = True

    def reopen(self) -> bool:
        """Try to open the devices again, as the system has them now; the engine must be idle and restarted.

        Raises EdgeError where PortAudio itself hangs in a lost device.
        """

        def attempt() -> None:
            with contextlib.suppress(self._sound.PortAudioError):
                if not self._hangs:
                    self._sound._terminate()  # PortAudio lists its devices only once
                    self._sound._initialize()
            with contextlib.suppress(EdgeError):
                self.open()

        if not _in_time(attempt, REOPEN_SECONDS):
            self._abandon()
            raise EdgeError("the sound device has vanished and PortAudio hangs in it; start again")
        if not self.lost and self._inputs:
            self.ready()
        if not self.lost:
            self.engine.counts.reconnects += 1
        return not self.lost

    def close(self) -> None:
        """Stop at once; never waits long, whatever the device does."""
        for stream in (self._stream, self._silence):
            self._end(stream)
        self._stream = self._silence = None

    def _end(self, stream: Any) -> None:
        def stop() -> None:
            with contextlib.suppress(self._sound.PortAudioError):
                stream.abort(ignore_errors=True)
                stream.close(ignore_errors=True)

        if stream is not None and not _in_time(stop, CLOSE_SECONDS):
            self._abandon()

    def _abandon(self) -> None:
        """Never wait for PortAudio again, not at the exit of the process either."""
        self._hangs = True
        setattr(self._sound, "_initialized", 0)  # noqa: B010 - sounddevice counts here what it will terminate

    def _duplex(self, captured, played, frames, when, status) -> None:
        self._called(status)
        heard, call = when.inputBufferAdcTime, (self._calls - 1) % _CALLS
        self._shifts[call] = self._call_times[call] - when.currentTime
        self._lateness.add(heard, when.currentTime, when.outputBufferDacTime)
        # not every system tells when it captured
        self._clock.take(heard if heard > 0 else when.currentTime, frames, self.engine.position, bool(status))
        self.engine.callback(captured, played)

    def _playback(self, played, frames, when, status) -> None:
        self._called(status)
        self.engine.callback(None, played)

    def _called(self, status) -> None:
        self._call_times[self._calls % _CALLS] = time.perf_counter()
        self._calls += 1
        if status:
            self.engine.counts.xruns += 1


def _silent(played, frames, when, status) -> None:
    played.fill(0)


def _in_time(work: Callable[[], None], seconds: float) -> bool:
    """Run `work` in a thread that may be left behind; whether it ended in time."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
