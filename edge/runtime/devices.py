"""Sound devices by PortAudio: opens a stream on an engine's callback, sees it vanish and opens it again."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from edge.errors import EdgeError, InputError
from edge.runtime.captureclock import CaptureClock, Lateness
from edge.runtime.live import LiveEngine
from edge.runtime.loopback import ClickPlayer
from edge.runtime.soundserver import THROUGH, ServerDevice, route, server_devices, table

STALLED_SECONDS = 2.0  # without a callback: the device has vanished
LOOK_SECONDS = 0.25  # that one look counts for: where more have passed, this process itself did not run
BACKLOG_SECONDS = 0.5  # no microphone is so late; a sound server that made the output wait kept what came meanwhile
AWAKE_SECONDS = 3.0  # at most, until an output plays
CLOSE_SECONDS = 2.0  # a lost device may never close
REOPEN_SECONDS = 20.0
_CALLS = 256  # looked at for bursts
SETTLING_SECONDS = 1.0  # of callbacks without a pause, before the device's habits count
USUAL_RATES = (48000, 44100, 96000, 32000, 16000)
PAUSE_SECONDS = 0.5  # a sound server takes its first buffers and then may wait so long, or four times as long
NO_PORTAUDIO = "PortAudio is missing: install it (Debian and Ubuntu: apt install libportaudio2)"


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
def _say_nothing(file: bytes, line: int, function: bytes, code: int, form: bytes) -> None:
    """What ALSA has to say of devices that are not there."""


def portaudio() -> ModuleType:
    """The sounddevice module; EdgeError where PortAudio is not installed."""
    with contextlib.suppress(OSError, AttributeError):  # no ALSA here
        # it writes to stderr whatever PortAudio tries in vain, into the status line
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_say_nothing)
    try:
        import sounddevice
    except OSError as error:
        raise EdgeError(NO_PORTAUDIO) from error
    return sounddevice


def list_devices() -> str:
    """Tables of the sound server's devices, and of PortAudio's: `>` marks the default input, `<` the default output."""
    own = str(portaudio().query_devices()) or "no sound devices"
    devices = _server_devices()
    if not devices:
        return own
    return f"by name, of the sound server:\n{table(devices)}\n\nby name or number, of PortAudio:\n{own}"


def parse_device(text: str | None, kind: str) -> int | str | None:
    """A device as the user names it for `kind` ("input", "output"): its number, or a part of its name.

    A sound server's device is routed to. Raises InputError for a name that several devices have.
    """
    if text is None or text.isdigit():
        return None if text is None else int(text)
    return route(text, kind, _server_devices())


def _server_devices() -> list[ServerDevice]:
    """Those of the sound server, where PortAudio leads there."""
    through = any(device["name"] == THROUGH for device in portaudio().query_devices())
    return server_devices() if through else []


def negotiate(
    model_rate: int, source: int | str | None, target: int | str | None, inputs: int, outputs: int
) -> tuple[int, int, int]:
    """Rate, channels in and channels out that both devices take, as near to what is asked for as they allow.

    The model's rate comes first, then the output's own, the input's own and the usual ones. A device of fewer channels
    gives or takes what it has. `inputs` 0: nothing is captured. Raises InputError for an unknown device, and where
    there is no common rate.
    """
    sound = portaudio()
    try:
        out = sound.query_devices(target, "output")
        asked = [(sound.check_output_settings, target, min(outputs, out["max_output_channels"]))]
        own = [out["default_samplerate"]]
        if inputs:
            given = sound.query_devices(source, "input")
            asked.append((sound.check_input_settings, source, min(inputs, given["max_input_channels"])))
            own.append(given["default_samplerate"])
    except (ValueError, sound.PortAudioError) as error:
        raise InputError(f"no such sound device: {_line(error)}; --list-devices shows them") from error
    rates = list(dict.fromkeys([model_rate, *map(int, own), *USUAL_RATES]))
    for rate in rates:
        with contextlib.suppress(sound.PortAudioError, ValueError):
            for check, device, channels in asked:
                check(device=device, channels=channels, dtype="float32", samplerate=rate)
            return rate, asked[1][2] if inputs else 0, asked[0][2]
    raise InputError(
        f"the devices have no rate in common at which they take {inputs} channel(s) in and {outputs} out; tried "
        f"{', '.join(map(str, rates))} Hz"
    )


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
        options = self._options()
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
            raise EdgeError(f"the sound device does not open: {_line(error)}") from error
        self._first_call = self._seen = self._calls
        self._looked_at, self._still = time.monotonic(), 0.0
        self.lost = False

    def _options(self) -> dict[str, Any]:
        rate, block = self.engine.rate, self.engine.block
        # two blocks: with more, PortAudio serves several blocks at a time, which the engine has to wait for
        latency = self._buffer or 2 * block / rate
        return {"samplerate": rate, "blocksize": block, "dtype": "float32", "latency": latency}

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
        """`settle`, and start again, once, where a sound server kept the microphone's past."""
        self.settle()
        if self.backlog:
            try:
                self.renew()
            except EdgeError:
                self.drop()

    def renew(self, between: Callable[[], None] = lambda: None) -> None:
        """Open the devices afresh, without what they kept; `between` is called while neither plays. EdgeError: `open`.

        Unlike `reopen` it takes the devices for there.
        """
        with self._awake():
            self.close()
            between()
            self.open()
            self.settle()

    @contextlib.contextmanager
    def _awake(self) -> Iterator[None]:
        """Keep the output busy with silence: a server's sink that rests may let the next stream wait two seconds."""
        stream, calls = None, []

        def silence(played, frames, when, status) -> None:
            played.fill(0)
            calls.append(frames)

        with contextlib.suppress(self._sound.PortAudioError, ValueError):  # not every device opens twice
            stream = self._sound.OutputStream(
                device=self._devices[1], channels=self.engine.outputs, callback=silence, **self._options()
            )
            stream.start()
            until = time.monotonic() + AWAKE_SECONDS
            while sum(calls) < PAUSE_SECONDS * self.engine.rate and time.monotonic() < until:
                time.sleep(0.05)
        try:
            yield
        finally:
            if stream is not None:
                self._end(stream)

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
            with contextlib.suppress(self._sound.PortAudioError):
                if self._stream.active and self._still < STALLED_SECONDS:
                    return True
            self.drop()
        return False

    def drop(self) -> None:
        """Close the stream, which waits for `reopen`."""
        self.close()
        self.lost = True

    def reopen(self) -> bool:
        """Try to open the devices again, as the system has them now; the engine must be idle and restarted.

        Raises EdgeError where PortAudio itself hangs in a lost device.
        """
        opened: list[bool] = []

        def attempt() -> None:
            with contextlib.suppress(self._sound.PortAudioError):
                if not self._hangs:
                    self._sound._terminate()  # PortAudio lists its devices only once
                    self._sound._initialize()
            with contextlib.suppress(EdgeError):
                self.open()
                opened.append(True)

        if not _in_time(attempt, REOPEN_SECONDS):
            self._abandon()
            raise EdgeError("the sound device has vanished and PortAudio hangs in it; start again")
        if opened:
            self.engine.counts.reconnects += 1
        return bool(opened)

    def close(self) -> None:
        """Stop at once; never waits long, whatever the device does."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._end(stream)

    def _end(self, stream: Any) -> None:
        def stop() -> None:
            with contextlib.suppress(self._sound.PortAudioError):
                stream.abort(ignore_errors=True)
                stream.close(ignore_errors=True)

        if not _in_time(stop, CLOSE_SECONDS):
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


def _in_time(work: Callable[[], None], seconds: float) -> bool:
    """Run `work` in a thread that may be left behind; whether it ended in time."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
