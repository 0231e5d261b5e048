"""A PulseAudio server of its own, without hardware: what is played into `mic` is what a microphone hears, and what
goes to `speaker` can be recorded from its monitor."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

TOOLS = ("pulseaudio", "pactl", "pacat", "parec")


class Pulse:
    """`env` for programs that are to use the server; its devices for PortAudio are called "pulse"."""

    def __init__(self, folder: Path, rate: int, channels: int):
        self.rate, self.channels, self._folder = rate, channels, folder
        self.socket = folder / "native"
        self.env = os.environ | {
            "PULSE_SERVER": f"unix:{self.socket}",
            "PULSE_SOURCE": "mic.monitor",
            "PULSE_SINK": "speaker",
            "PULSE_COOKIE": str(folder / "cookie"),
        }
        self._server: subprocess.Popen | None = None
        self._hiss: subprocess.Popen | None = None

    def start(self) -> None:
        form = f"format=float32le rate={self.rate} channels={self.channels}"
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--realtime=no"]
        command += [f"--load=module-native-protocol-unix socket={self.socket} auth-anonymous=1"]
        command += [f"--load=module-null-sink sink_name={name} {form}" for name in ("mic", "speaker")]
        own = {"XDG_RUNTIME_DIR": str(self._folder), "HOME": str(self._folder), "PULSE_STATE_PATH": str(self._folder)}
        self._log = (self._folder / "log").open("ab")
        self._server = subprocess.Popen(command, env=os.environ | own, stdout=self._log, stderr=self._log)
        until = time.monotonic() + 20
        while subprocess.run(["pactl", "info"], env=self.env, capture_output=True).returncode:
            if time.monotonic() > until or self._server.poll() is not None:
                pytest.skip(f"pulseaudio does not start here: {(self._folder / 'log').read_text()[-300:]}")
            time.sleep(0.1)
        # a microphone never rests: a null sink that nobody plays into does, for two seconds at a time
        command = ["pacat", "--playback", "--device=mic", "--latency-msec=20", "--raw", "/dev/zero"]
        self._hiss = subprocess.Popen(command, env=self.env, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._hiss is not None:
            self._hiss.kill()
            self._hiss.wait()
        if self._server is not None:
            self._server.terminate()
            self._server.wait(10)
            self._server = None
            self._log.close()

    def speak(self, file: Path) -> subprocess.Popen:
        """Play a file into the microphone."""
        # as late as a microphone: with pacat's own two seconds the sink would hand out so much at once
        command = ["pacat", "--playback", "--device=mic", "--latency-msec=50", "--file-format", str(file)]
        return subprocess.Popen(command, env=self.env)

    @contextlib.contextmanager
    def recorded(self, file: Path) -> Iterator[None]:
        """Record the loudspeaker as raw float32 into `file` while the block runs."""
        form = ["--format=float32le", f"--rate={self.rate}", f"--channels={self.channels}", "--raw"]
        with file.open("wb") as out:
            command = ["parec", "--device=speaker.monitor", "--latency-msec=50", *form]
            recorder = subprocess.Popen(command, env=self.env, stdout=out)
            try:
                yield
                time.sleep(0.5)  # what is under way
            finally:
                recorder.terminate()
                recorder.wait(10)

    def read(self, file: Path) -> np.ndarray:
        return np.fromfile(file, np.float32).reshape(-1, self.channels)


@contextlib.contextmanager
def pulse_server(folder: Path, rate: int, channels: int = 1) -> Iterator[Pulse]:
    """A running server; skips the test where PulseAudio or PortAudio is missing."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    try:
        import sounddevice  # noqa: F401
    except OSError:
        pytest.skip("PortAudio is not installed")
    server = Pulse(folder, rate, channels)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def write_speech(file: Path, seconds: float, rate: int) -> np.ndarray:
    """The sample of noisy speech, repeated, as 16-bit audio that a float32 server passes unchanged."""
    from edge import samples

    noisy = samples.speech()[0]
    audio = np.resize(noisy, round(seconds * rate)).astype(np.float32)
    soundfile.write(file, audio, rate, "PCM_16")
    return audio
