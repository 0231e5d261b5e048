"""Sound devices by PortAudio: opens streams on an engine's callbacks, sees them vanish and opens them again."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edge.errors import EdgeError
from edge.runtime.captureclock import CaptureClock
from edge.runtime.live import LiveEngine
from edge.runtime.loopback import ClickPlayer
from edge.runtime.portaudio import one_line, portaudio
from edge.runtime.soundserver import THROUGH

STALLED_SECONDS = 2.0  # without a callback: the device has vanished
PAUSED_SECONDS = 5.0  # the same of an output, as a sound server's may pause for two seconds after an underrun
LOOK_SECONDS = 0.25  # that one look counts for: where more have passed, this process itself did not run
CLOSE_SECONDS = 2.0  # a lost device may never close
REOPEN_SECONDS = 20.0
SETTLING_SECONDS = 1.25  # of callbacks without a pause, before the devices' habits are known: a Pace looks at 1 s
SETTLING_BLOCKS = 10  # the same, where blocks are long: a Pace looks at 8
UNSETTLED_SECONDS = 8.0  # that such pauses may take
PAUSE_SECONDS = 0.5  # a sound server takes its first buffers and then may wait so long, or four times as long
INPUT_BLOCKS = 3  # PortAudio reads block by block up to here; from a longer buffer it reads a quarter at a time
SILENT_BLOCK, SILENT_BUFFER = 0.05, 0.1  # seconds, of the silence beside an output
LATENCY_CALLS = 64  # latest callbacks of which the latency is the median
_CALLS = 256  # latest callbacks whose times are kept


class _Calls:
    """When the callbacks of a stream came; the audio thread calls `add`, another thread all else."""

    def __init__(self) -> None:
        self.count = self._seen = 0
        self._steady_from = self._latest = 0.0  # perf_counter: the first callback after a pause, and the latest
        self._still = 0.0  # seconds without a callback
        self._values = np.zeros(_CALLS)

    def add(self, value: float) -> None:
        now = time.perf_counter()
        if now - self._latest > PAUSE_SECONDS:
            self._steady_from = now
        self._latest = now
        self._values[self.count % _CALLS] = value
        self.count += 1

    @property
    def steady(self) -> float:
        """Seconds of callbacks without a pause."""
        return self._latest - self._steady_from

    def latest(self, most: int = _CALLS) -> np.ndarray:
        """What the latest callbacks had."""
        count = self.count
        return self._values[np.arange(max(0, count - most), count) % _CALLS]

    def still(self, passed: float) -> float:
        """Seconds without a callback, where `passed` went by since this was asked last."""
        self._still = 0.0 if self.count != self._seen else self._still + passed
        self._seen = self.count
        return self._still


class DeviceStream:
    """An engine on its devices: `open`, `poll` now and then, and `reopen` where they have vanished.

    Input and output are two streams, so neither waits for the other: an output that pauses costs no captured sample.
    """

    def __init__(
        self,
        engine: LiveEngine | ClickPlayer,
        source: int | str | None,
        target: int | str | None,
        inputs: int,
        buffer: float | None = None,
    ):
        """`inputs` 0: nothing is captured. `buffer`: seconds that the devices may buffer (default: some blocks)."""
        self.engine = engine
        self._devices, self._inputs, self._buffer = (source, target), inputs, buffer
        self._sound = portaudio()
        self._streams: list[Any] = []
        self._silence: Any = None
        self._captures, self._plays = _Calls(), _Calls()
        self._looked_at = 0.0
        self._clock = CaptureClock(1, 1)
        self._told = False  # the input says when it captured
        self.lost = self._hangs = False
        self._reported = 0.0  # seconds of latency, in and out, as PortAudio says before it runs

    def open(self) -> None:
        """Open and start; EdgeError where the devices refuse."""
        engine, (source, target) = self.engine, self._devices
        self._clock = CaptureClock(engine.rate, engine.block, self._clock.side)
        self._captures, self._plays, self._told = _Calls(), _Calls(), False
        block = engine.block / engine.rate
        options = {"samplerate": engine.rate, "blocksize": engine.block, "dtype": "float32"}
        try:
            if self._inputs:
                # a sound server keeps whatever is not read yet, in a buffer of its own
                kept = self._sound.query_devices(source, "input")["name"] == THROUGH
                buffer = INPUT_BLOCKS * block if kept or not self._buffer else self._buffer
                stream = self._sound.InputStream(
                    device=source,
                    channels=self._inputs,
                    callback=self._while_open(self._capture),
                    latency=buffer,
                    **options,
                )
                self._streams.append(stream)
            stream = self._sound.OutputStream(
                device=target,
                channels=engine.outputs,
                callback=self._while_open(self._play),
                latency=self._buffer or 2 * block,
                **options,
            )
            self._streams.append(stream)
            self._reported = sum(stream.latency for stream in self._streams)
            for stream in self._streams:
                stream.start()
        except (self._sound.PortAudioError, ValueError) as error:
            self.close()
            raise EdgeError(f"the sound device does not open: {one_line(error)}") from error
        self._looked_at = time.monotonic()
        self.lost = False
        if sys.platform == "linux":
            self._keep_awake()

    def _keep_awake(self) -> None:
        """Play silence beside the output: a server's sink that has nothing to play, as after each underrun, may rest
        for two seconds."""
        with contextlib.suppress(self._sound.PortAudioError, ValueError):  # not every device opens twice
            self._silence = self._sound.OutputStream(
                device=self._devices[1],
                channels=self.engine.outputs,
                callback=_silent,
                samplerate=self.engine.rate,
                blocksize=round(SILENT_BLOCK * self.engine.rate),
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
        """Our clock - the devices', which may be set while no stream runs."""
        return float(self._captures.latest().min())  # a callback may run late, but not early

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
        """Seconds that the devices add to the engine's round trip, by the times that they tell."""
        return max(0.0, self.round_trip - self.engine.block / self.engine.rate) or self._reported

    @property
    def round_trip(self) -> float:
        """Seconds from the microphone to the loudspeaker but for the engine's delay, by the times that devices tell.

        0 where they tell none.
        """
        plays = self._plays.latest(LATENCY_CALLS)
        if not self._told or not len(plays) or not plays.all():
            return 0.0
        heard = self._clock.opened + self._shift
        return max(0.0, float(np.median(plays)) - heard + (self.engine.lead - self.engine.delay) / self.engine.rate)

    def settle(self) -> None:
        """Wait until all callbacks came for a while without a pause, at most UNSETTLED_SECONDS more than it takes."""
        steady = max(SETTLING_SECONDS, SETTLING_BLOCKS * self.engine.block / self.engine.rate)
        until = time.monotonic() + UNSETTLED_SECONDS + steady
        calls = [self._captures, self._plays] if self._inputs else [self._plays]
        while time.monotonic() < until and any(each.steady < steady for each in calls):
            time.sleep(0.05)

    def poll(self) -> bool:
        """Whether audio runs; where it does not, the streams are closed and wait for `reopen`."""
        now = time.monotonic()
        passed, self._looked_at = min(now - self._looked_at, LOOK_SECONDS), now
        if self.lost:
            return False
        still = self._inputs > 0 and self._captures.still(passed) >= STALLED_SECONDS
        if still or self._plays.still(passed) >= PAUSED_SECONDS or not all(map(self._active, self._streams)):
            self.drop()
        return not self.lost

    def _active(self, stream: Any) -> bool:
        with contextlib.suppress(self._sound.PortAudioError):
            return bool(stream.active)
        return False

    def drop(self) -> None:
        """Close the streams, which wait for `reopen`."""
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
        if self.lost:
            return False
        if self._inputs:
            self.settle()
        if self.poll():
            self.engine.counts.reconnects += 1
        return not self.lost

    def close(self) -> None:
        """Stop at once; never waits long, whatever the devices do."""
        streams, self._streams, self._silence = [*self._streams, self._silence], [], None
        for stream in streams:
            self._end(stream)

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

    def _while_open(self, callback: Callable[..., None]) -> Callable[..., None]:
        """`callback` until the streams are closed: one that hangs in PortAudio may call on, into what runs by then."""
        streams = self._streams  # `close` puts others in their place

        def call(block, frames, when, status) -> None:
            if self._streams is streams:
                callback(block, frames, when, status)
            elif callback == self._play:
                block.fill(0)

        return call

    # The audio threads

    def _capture(self, block, frames, when, status) -> None:
        heard, now = when.inputBufferAdcTime, when.currentTime
        self._told = heard > 0
        self._captures.add(time.perf_counter() - now)
        self._clock.take(heard if self._told else now, frames, self.engine.heard, bool(status))
        self._count(status)
        self.engine.capture(block)

    def _play(self, out, frames, when, status) -> None:
        plays, before = when.outputBufferDacTime, self._plays.count * frames / self.engine.rate
        # when the stream's first frame would have been played, had it run through
        self._plays.add(time.perf_counter() + plays - when.currentTime - before if plays > 0 else 0.0)
        self._count(status)
        self.engine.play(out)

    def _count(self, status) -> None:
        if status:
            self.engine.counts.xruns += 1


def _silent(out, frames, when, status) -> None:
    out.fill(0)


def _in_time(work: Callable[[], None], seconds: float) -> bool:
    """Run `work` in a thread that may be left behind; whether it ended in time."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
