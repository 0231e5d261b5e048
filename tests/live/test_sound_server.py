"""Devices as a sound server names them, and a device that is still there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from pulse import pulse_server

from edge.errors import EdgeError, InputError
from edge.runtime import devices, portaudio, soundserver
from edge.runtime.livecounts import LiveCounts
from edge.runtime.soundserver import ServerDevice, route

DEVICES = [
    ServerDevice("input", "alsa_input.usb-Jabra", "Jabra Evolve Mono", 16_000, 1, True),
    ServerDevice("input", "alsa_input.pci", "Built-in Audio", 48_000, 2, False),
    ServerDevice("input", "speaker.monitor", "Monitor of Built-in Audio", 48_000, 2, False),
    ServerDevice("output", "alsa_output.pci", "Built-in Audio", 48_000, 2, True),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("PULSE_SOURCE", "PULSE_SINK"):
        monkeypatch.setenv(name, "")


def test_a_device_is_known_by_a_part_of_its_description():
    assert route("jabra", "input", DEVICES) == "pulse" and os.environ["PULSE_SOURCE"] == "alsa_input.usb-Jabra"
    assert route("Built-in Audio", "input", DEVICES) == "pulse" and os.environ["PULSE_SOURCE"] == "alsa_input.pci"
    assert route("alsa_output.pci", "output", DEVICES) == "pulse" and os.environ["PULSE_SINK"] == "alsa_output.pci"


def test_other_names_are_left_to_portaudio():
    for name in ("pulse", "hw:0,0", "jabra"):
        assert route(name, "output", DEVICES) == name
    assert not os.environ["PULSE_SINK"]


def test_a_name_of_several_is_refused():
    with pytest.raises(InputError, match="Built-in Audio, Monitor of Built-in Audio"):
        route("built-in", "input", DEVICES)


def test_without_a_server_there_is_nothing(monkeypatch):
    monkeypatch.setattr(soundserver.shutil, "which", lambda name: None)
    assert soundserver.server_devices() == []


def test_the_names_of_a_real_server(tmp_path, monkeypatch):
    """Its devices as it has them; nothing of ALSA's in between."""
    with pulse_server(tmp_path, 48_000, 2) as server:
        monkeypatch.setenv("PULSE_SERVER", server.env["PULSE_SERVER"])
        monkeypatch.setenv("PULSE_COOKIE", server.env["PULSE_COOKIE"])
        found = soundserver.server_devices()
        names = {(device.kind, device.name, device.rate, device.channels) for device in found}
        assert {("input", "mic.monitor", 48_000, 2), ("output", "speaker", 48_000, 2)} <= names
        done = subprocess.run(
            [sys.executable, "-m", "edge.cli.run", "--list-devices"], env=server.env, capture_output=True, text=True
        )
        assert done.returncode == 0 and done.stderr == ""
        if "pulse" not in done.stdout:
            pytest.skip("PortAudio does not lead to PulseAudio here")
        assert all(device.description in done.stdout for device in found)


class Sound:
    PortAudioError = RuntimeError


class Stream:
    active = True

    def abort(self, ignore_errors: bool) -> None:
        """Nothing."""

    close = abort


def watched(monkeypatch) -> tuple[devices.DeviceStream, list[float]]:
    """A device stream without a device, and its clock."""
    clock = [0.0]
    monkeypatch.setattr(devices, "portaudio", lambda: Sound)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stream = devices.DeviceStream(engine=None, source=None, target=None, inputs=1)  # type: ignore[arg-type]
    stream._streams = [Stream(), Stream()]
    return stream, clock


def test_a_process_that_did_not_run_has_not_lost_its_device(monkeypatch):
    stream, clock = watched(monkeypatch)
    for _ in range(5):  # the machine was busy with others for three seconds, and looks before it plays
        clock[0] += 3
        assert stream.poll()
        clock[0] += 0.1
        stream._captures.add(0.0)
        stream._plays.add(0.0)
        assert stream.poll()


def test_a_device_that_stands_still_is_lost(monkeypatch):
    stream, clock = watched(monkeypatch)
    looks = 0
    while stream.poll():
        clock[0] += 0.1
        looks += 1
    assert 2.0 <= clock[0] < 2.4 and stream.lost


def test_an_output_that_pauses_is_not_lost_while_the_input_goes_on(monkeypatch):
    stream, clock = watched(monkeypatch)
    while stream.poll():
        clock[0] += 0.1
        stream._captures.add(0.0)
        if clock[0] < 3:
            assert not stream.lost
    assert 5.0 <= clock[0] < 5.4


def test_a_stream_that_broke_off_is_lost_at_once(monkeypatch):
    stream, _ = watched(monkeypatch)
    broken = Stream()
    broken.active = False
    stream._streams[0] = broken
    assert not stream.poll() and stream.lost and not stream._streams


class FakeStreams(Sound):
    """PortAudio with one input of a name; keeps what was opened, and refuses the loudspeaker a second stream."""

    def __init__(self, name: str):
        self.name, self.opened, self.closed = name, [], 0

    def query_devices(self, device, kind):
        return {"name": self.name}

    def _open(self, **options):
        if len(self.opened) == 2:
            raise self.PortAudioError("busy")
        self.opened.append(options)
        return SimpleNamespace(latency=0.01, active=True, start=lambda: None, abort=lambda **_: None, close=self._close)

    InputStream = OutputStream = _open

    def _close(self, ignore_errors: bool) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    "name, buffer, heard, played",
    [
        ("hw:0,0", None, 0.03, 0.02),
        ("hw:0,0", 0.2, 0.2, 0.2),
        ("pulse", 0.2, 0.03, 0.2),  # the server keeps what is not read yet, and a short buffer is read more often
    ],
)
def test_input_and_output_are_streams_of_their_own(monkeypatch, name, buffer, heard, played):
    fake = FakeStreams(name)
    monkeypatch.setattr(devices, "portaudio", lambda: fake)
    engine = SimpleNamespace(rate=16_000, block=160, outputs=2)
    stream = devices.DeviceStream(engine, None, None, 1, buffer)  # type: ignore[arg-type]
    stream.open()
    assert [options["latency"] for options in fake.opened] == pytest.approx([heard, played])
    assert [options["channels"] for options in fake.opened] == [1, 2]
    assert stream.poll()
    stream.close()
    assert fake.closed == 2


def test_an_output_that_refuses_leaves_no_input_open(monkeypatch):
    fake = FakeStreams("pulse")
    fake.opened.append({})
    monkeypatch.setattr(devices, "portaudio", lambda: fake)
    engine = SimpleNamespace(rate=16_000, block=160, outputs=2)
    stream = devices.DeviceStream(engine, None, None, 1)  # type: ignore[arg-type]
    with pytest.raises(EdgeError, match="does not open: busy"):
        stream.open()
    assert fake.closed == 1


def test_a_stream_that_hangs_calls_nothing_after_it_was_closed(monkeypatch):
    fake, called = FakeStreams("pulse"), []
    monkeypatch.setattr(devices, "portaudio", lambda: fake)
    engine = SimpleNamespace(rate=16_000, block=160, outputs=1)
    stream = devices.DeviceStream(engine, None, None, 1)  # type: ignore[arg-type]
    monkeypatch.setattr(stream, "_capture", lambda *given: called.append("capture"))
    monkeypatch.setattr(stream, "_play", lambda *given: called.append("play"))
    stream.open()
    heard, played = (options["callback"] for options in fake.opened)
    out = np.ones((160, 1), np.float32)
    for callback in (heard, played):
        callback(out, 160, None, None)
    stream.drop()
    fake.opened.clear()
    stream.open()
    for callback in (heard, played):
        callback(out, 160, None, None)
    assert called == ["capture", "play"] and not out.any()
    fake.opened[1]["callback"](out, 160, None, None)
    assert called == ["capture", "play", "play"]


@pytest.mark.parametrize("rate, block", [(16_000, 160), (48_000, 2_400)])
@pytest.mark.parametrize("lead", [0, 700])
@pytest.mark.parametrize("told", [True, False])
def test_the_latency_is_what_the_devices_tell(monkeypatch, rate, block, lead, told):
    """A frame captured at H is played at P but for the engine's delay, and by `lead` - `delay` frames later."""
    fake, heard, plays, ahead, clock = FakeStreams("hw:0,0"), 70.0, 70.25, 9.0, [0.0]
    monkeypatch.setattr(devices, "portaudio", lambda: fake)
    times = SimpleNamespace(perf_counter=lambda: clock[0], monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(devices, "time", times)
    nothing = lambda block: None  # noqa: E731
    engine = SimpleNamespace(
        rate=rate, block=block, outputs=1, delay=500, lead=500 + lead, heard=0, capture=nothing, play=nothing
    )
    stream = devices.DeviceStream(engine, None, None, 1)  # type: ignore[arg-type]
    stream.open()
    assert stream.latency == pytest.approx(0.02)  # PortAudio's own word, of both
    for k in range(100):
        now, passed = heard + k * block / rate, k * block / rate
        clock[0] = now + ahead
        odd = 0.3 if k % 3 == 0 else 0.0  # some times that are told are off
        when = SimpleNamespace(
            inputBufferAdcTime=heard + passed if told else 0.0,
            outputBufferDacTime=plays + passed + odd,
            currentTime=now,
        )
        stream._capture(np.zeros((block, 1), np.float32), block, when, None)
        stream._play(np.zeros((block, 1), np.float32), block, when, None)
    expected = plays - heard + lead / rate
    assert stream.round_trip == pytest.approx(expected if told else 0.0, abs=1e-6)
    assert stream.latency == pytest.approx(expected - block / rate if told else 0.02, abs=1e-6)


@pytest.mark.parametrize("block, least", [(160, 125), (4800, 10), (16_000, 10)])
def test_devices_have_settled_when_a_pace_is_known(monkeypatch, block, least):
    monkeypatch.setattr(devices, "portaudio", lambda: Sound)
    engine, clock = SimpleNamespace(rate=16_000, block=block), [100.0]
    stream = devices.DeviceStream(engine, None, None, 1)  # type: ignore[arg-type]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        while stream._plays.count * block / 16_000 < clock[0] - 100:
            stream._captures.add(0.0)
            stream._plays.add(0.0)

    times = SimpleNamespace(perf_counter=lambda: clock[0], monotonic=lambda: clock[0], sleep=sleep)
    monkeypatch.setattr(devices, "time", times)
    stream.settle()
    assert least <= stream._plays.count <= 2 * least + 10


def test_a_file_goes_on_at_once_when_its_device_is_back(monkeypatch):
    fake = FakeStreams("hw:0,0")
    fake._terminate = fake._initialize = lambda: None
    monkeypatch.setattr(devices, "portaudio", lambda: fake)
    engine = SimpleNamespace(rate=16_000, block=160, outputs=1, counts=LiveCounts())
    stream = devices.DeviceStream(engine, None, None, 0)  # type: ignore[arg-type]
    began = time.monotonic()
    stream.lost = True
    assert stream.reopen() and engine.counts.reconnects == 1
    assert time.monotonic() - began < devices.SETTLING_SECONDS
    stream.close()


class FakePortAudio:
    """Devices by name: (channels in, channels out, own rate, rates it takes)."""

    class PortAudioError(Exception):
        pass

    def __init__(self, **devices):
        self.devices = devices

    def query_devices(self, device, kind):
        if device not in self.devices:
            raise ValueError(f"No {kind} device matching {device!r}")
        inputs, outputs, own, _ = self.devices[device]
        return {"max_input_channels": inputs, "max_output_channels": outputs, "default_samplerate": float(own)}

    def _check(self, device, channels, samplerate, most):
        if samplerate not in self.devices[device][3] or not 0 < channels <= most:
            raise self.PortAudioError("Invalid sample rate")

    def check_input_settings(self, device, channels, dtype, samplerate):
        self._check(device, channels, samplerate, self.devices[device][0])

    def check_output_settings(self, device, channels, dtype, samplerate):
        self._check(device, channels, samplerate, self.devices[device][1])


@pytest.mark.parametrize(
    "mic, speaker, model, channels, agreed",
    [
        # a 48-kHz-only microphone and an output whose own rate is 44.1 kHz but that takes 48
        ((1, 0, 48000, {48000}), (0, 2, 44100, {44100, 48000}), 16000, (1, 1), (48000, 1, 1)),
        # the other way round
        ((1, 0, 44100, {44100}), (0, 2, 48000, {44100, 48000}), 16000, (1, 1), (44100, 1, 1)),
        # a rate that is neither's own
        ((2, 0, 96000, {48000, 96000}), (0, 2, 192000, {48000, 192000}), 44100, (2, 2), (48000, 2, 2)),
        # the model's own rate
        ((2, 0, 48000, {16000, 48000}), (0, 2, 48000, {16000, 48000}), 16000, (1, 1), (16000, 1, 1)),
        # one channel for a model of two, and a loudspeaker of one
        ((1, 0, 44100, {44100}), (0, 1, 44100, {44100}), 44100, (2, 2), (44100, 1, 1)),
    ],
)
def test_rate_and_channels_are_negotiated(monkeypatch, mic, speaker, model, channels, agreed):
    monkeypatch.setattr(portaudio, "portaudio", lambda: FakePortAudio(mic=mic, speaker=speaker))
    assert portaudio.negotiate(model, "mic", "speaker", *channels) == agreed
    assert portaudio.negotiate(speaker[2], "mic", "speaker", 0, channels[1])[1] == 0
    with pytest.raises(InputError, match="no such sound device"):
        portaudio.negotiate(model, "none", "speaker", *channels)


def test_devices_without_a_common_rate_are_refused(monkeypatch):
    fake = FakePortAudio(mic=(1, 0, 48000, {48000}), speaker=(0, 2, 44100, {44100}))
    monkeypatch.setattr(portaudio, "portaudio", lambda: fake)
    with pytest.raises(InputError, match="no rate in common"):
        portaudio.negotiate(16000, "mic", "speaker", 1, 1)
