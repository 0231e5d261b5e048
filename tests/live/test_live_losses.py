"""What a device loses, and what a reconnect leaves out: the recordings keep their time."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sounddevice
import soundfile
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edge.audio import AudioReader
from edge.cli.live import _Live
from edge.cli.mixer import Mixer
from edge.runtime import devices
from edge.runtime.captureclock import CaptureClock
from edge.runtime.guard import Counts
from edge.runtime.live import LiveEngine
from edge.runtime.worker import Recorder

RATE, BLOCK = 8000, 80
AHEAD = 5000.0  # seconds, of our clock against the devices'
NOW = [0.0]  # by our clock
WINDOW = 130  # blocks by whose times a loss is known
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # each example writes files


class Echo:
    """A session that gives its input, unchanged and at once."""

    sample_rate, hop, latency_samples = RATE, BLOCK, BLOCK
    shape_in = shape_out = ()

    def __init__(self):
        self.counts = Counts()

    def reset(self):
        """It keeps nothing."""

    def process(self, samples):
        return samples.copy()

    def flush(self):
        return np.zeros(0, np.float32)


class Microphone:
    """A device's callbacks on a simulated clock that runs a little wrong; frame n has the value (n + 1) / 2^20."""

    def __init__(self, stream: devices.DeviceStream, jitter: float, drift: float, seed: int = 0, timed: bool = True):
        self._stream, self._jitter, self._rate, self._timed = stream, jitter, RATE * (1 + drift), timed
        self._random = np.random.default_rng(seed)
        self.frame = 0

    def give(self, lost: int = 0, late: float = 0.01, **flags: bool) -> None:
        """The next block, `late` seconds after it was captured, after `lost` frames that never come."""
        heard, played = sounddevice.CallbackFlags(), sounddevice.CallbackFlags()
        for flag in flags:
            setattr(heard if flag.startswith("input") else played, flag, True)
        self.frame += lost
        frames = np.arange(self.frame, self.frame + BLOCK)
        at = 100 + self.frame / self._rate + self._random.uniform(-self._jitter, self._jitter)
        when = SimpleNamespace(
            inputBufferAdcTime=at if self._timed else 0.0, currentTime=at + late, outputBufferDacTime=at + late + 0.02
        )
        block = (np.float32(frames + 1) / 2**20)[:, None]
        NOW[0] = at + late + AHEAD
        self._stream._capture(block, BLOCK, when, heard)
        self._stream._play(np.zeros((BLOCK, 1), np.float32), BLOCK, when, played)
        self.frame += BLOCK


def silent_stream(**options) -> SimpleNamespace:
    """A stream that PortAudio would open; the test plays it by hand."""
    nothing = lambda **options: None  # noqa: E731
    return SimpleNamespace(latency=0.0, active=True, start=nothing, abort=nothing, close=nothing)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Makes engines on a device that is played by hand, each with its recorder."""
    fake = SimpleNamespace(
        PortAudioError=RuntimeError,
        InputStream=silent_stream,
        OutputStream=silent_stream,
        query_devices=lambda device, kind: {"name": kind},
    )

    def make() -> tuple[LiveEngine, devices.DeviceStream, Recorder, _Live, Path]:
        folder = tmp_path_factory.mktemp("live")
        engine = LiveEngine(Echo(), RATE, BLOCK)
        stream = devices.DeviceStream(engine, None, None, 1)
        stream.open()
        engine.start()
        recorder = Recorder(engine, folder / "in.wav", folder / "out.wav")
        return engine, stream, recorder, _Live(engine, stream, Mixer([""]), recorder, None), folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "portaudio", lambda: fake)
        clock = SimpleNamespace(perf_counter=lambda: NOW[0], monotonic=time.monotonic, sleep=time.sleep)
        patch.setattr(devices, "time", clock)
        yield make


def work(engine: LiveEngine, live: _Live) -> None:
    while engine.work():
        pass
    live._record()


def end(live: _Live, recorder: Recorder) -> None:
    live._record(final=True)
    recorder.close()


def places(samples: np.ndarray) -> np.ndarray:
    """Of the samples that are sound: where they are, minus where they were spoken."""
    sound = np.flatnonzero(samples)
    return sound - (np.rint(samples[sound] * 2**20).astype(int) - 1)


@settings(max_examples=15, deadline=None, phases=NO_SHRINKING)
@given(
    losses=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 2000)), min_size=1, max_size=6),
    jitter=st.sampled_from([0.0, 0.0005, 0.004]),
    drift=st.floats(-2e-4, 2e-4),
    seed=st.integers(0, 100),
    timed=st.booleans(),
)
def test_silence_of_the_right_length_where_it_was_lost(opened, losses, jitter, drift, seed, timed):
    """Every sample of the recording is where it was spoken, within what the device's times are off by."""
    engine, stream, recorder, live, folder = opened()
    microphone = Microphone(stream, jitter, drift, seed, timed)
    gaps, total = [], 0
    for blocks, lost in [(WINDOW, 0), *losses, (WINDOW + 1, 0)]:
        if lost:
            gaps.append((microphone.frame, lost))
            microphone.give(lost, input_overflow=True)
        for _ in range(blocks):
            microphone.give()
            work(engine, live)
        total += lost
    end(live, recorder)
    captured, played = (soundfile.read(folder / name, dtype="float32")[0] for name in ("in.wav", "out.wav"))
    off = 2 + abs(drift) * microphone.frame  # rounding, and what the clock runs wrong meanwhile
    assert np.abs(places(captured)).max() <= off + 2.2 * jitter * RATE
    # the output is aligned with the input: each sample is where it was captured, or silent
    sound = np.flatnonzero(played)
    inner = sound[(played[sound] == captured[sound])]
    assert len(inner) > 0.5 * len(played) - 3 * total
    for start, lost in gaps if jitter == 0 else []:
        rim = round(off) + 1
        assert not captured[start + rim : start + lost - rim].any()
        assert captured[start - rim] and captured[start + lost + rim]
    assert engine.counts.xruns == len(losses)
    assert abs(engine.counts.lost_frames - total) <= off + 2.2 * jitter * RATE


@pytest.mark.parametrize("jitter", [0.0, 0.008])
def test_nothing_is_lost_where_nothing_is_said_or_only_playing_failed(opened, jitter):
    engine, stream, recorder, live, folder = opened()
    microphone = Microphone(stream, jitter, 1e-4)
    for k in range(400):
        microphone.give(**({"output_underflow": True} if k % 60 == 59 else {}))
        work(engine, live)
    end(live, recorder)
    captured, _ = soundfile.read(folder / "in.wav", dtype="float32")
    assert engine.counts.lost_frames == 0 and engine.counts.xruns == 6
    assert len(captured) == 400 * BLOCK and not places(captured).any()


@settings(max_examples=40, deadline=None)
@given(
    losses=st.lists(st.tuples(st.integers(60, 300), st.integers(40, 30_000)), min_size=1, max_size=8),
    late=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_times_that_are_off_to_one_side_tell_a_loss_to_the_frame(losses, late, seed):
    """As a sound server's: a third are right, others off by up to 10 ms, all to the same side."""
    rate, block = 16_000, 80
    random, clock = np.random.default_rng(seed), CaptureClock(rate, block)
    spoken, position, found, gone = 0, 80, [], 0

    def take(fault: bool) -> None:
        nonlocal spoken, position
        off = random.choice([0.0, 0.0, 0.0025, 0.005, 0.0075, 0.01]) * (1 if late else -1)
        clock.take(1.7e9 + spoken / rate + off, block, position, fault)
        spoken, position = spoken + block, position + block

    for blocks, lost in [(300, 0), *losses]:
        gone += lost
        spoken += lost
        expected = (position, lost)
        for k in range(blocks):
            take(fault=k == 0 and lost > 0)
            found += clock.losses()
        if lost:
            found += clock.losses(final=True)
            assert clock.unsure_from is None and found[-1][0] == expected[0]
            assert abs(found[-1][1] - lost) <= 1
    assert len(found) == len(losses) and abs(sum(frames for _, frames in found) - gone) <= 1
    assert abs((clock.began - 1.7e9) * rate - (gone - 80)) <= 2


def test_what_a_sound_server_kept_was_captured_in_time(opened):
    """Sound that comes seconds late, all at once, does not move the time at which the recording began."""
    _, stream, _, _, _ = opened()
    microphone = Microphone(stream, 0.0, 0.0)
    for k in range(300):
        microphone.give(late=2.0 if k > 280 else 0.01)
    assert stream.began == pytest.approx(AHEAD + 100, abs=2 / RATE)


@pytest.mark.parametrize("lost", [80, 330, 5000])
@pytest.mark.parametrize("moved", [-2, 0, 3])
def test_a_loss_is_where_it_was_and_not_where_it_was_reported(moved, lost):
    rate, block = 16_000, 320
    random, clock = np.random.default_rng(lost), CaptureClock(rate, block)
    spoken = 0
    for k in range(200):
        spoken += lost if k == 100 + moved else 0
        off = random.choice([0.0, 0.0, -0.0025])
        clock.take(50 + spoken / rate + off, block, block * (k + 1), k == 100)
        spoken += block
        if clock.unsure_from is not None:
            assert clock.unsure_from <= block * (101 + moved)
    assert clock.losses() == [(block * (101 + moved), lost)]


def test_what_several_gaps_are_off_by_does_not_add_up(opened):
    engine, _, recorder, _, folder = opened()
    device = SimpleNamespace(began=1000.0, unsure_from=None, losses=lambda final: [], settle=lambda: None)
    live = _Live(engine, device, Mixer([""]), recorder, None)
    random, frame = np.random.default_rng(0), 0
    for _ in range(30):
        for _ in range(20):
            block = np.arange(frame + 1, frame + BLOCK + 1, dtype=np.float32)[:, None] / 2**20
            engine.capture(block)
            engine.play(np.empty((BLOCK, 1), np.float32))
            frame += BLOCK
            live._record()
        live._worker = live._worker or SimpleNamespace(stop=lambda: None)
        live._rest()
        frame += int(random.integers(2000, 9000))
        device.began = 1000 + frame / RATE + random.uniform(0, 0.005)
        live._start()
    live._worker.stop()
    end(live, recorder)
    captured, _ = soundfile.read(folder / "in.wav", dtype="float32")
    assert np.abs(places(captured)).max() <= 0.005 * RATE + 1


def test_a_loss_longer_than_the_rings(opened):
    engine, stream, recorder, live, folder = opened()
    microphone = Microphone(stream, 0.0, 0.0)
    for k in range(200):
        if k == 100:
            microphone.give(3 * engine.capacity, input_overflow=True)
        microphone.give()
        work(engine, live)
    end(live, recorder)
    captured, played = (soundfile.read(folder / name, dtype="float32")[0] for name in ("in.wav", "out.wav"))
    assert len(captured) == microphone.frame == len(played) + engine.delay
    assert np.abs(places(captured)).max() == 0
    np.testing.assert_array_equal(captured[-2000 : -engine.delay], played[-2000 + engine.delay :])


class Vanishing:
    """The loudspeaker's side of a DeviceStream: it vanishes once, after some blocks, and comes back."""

    lost, latency, unsure_from = False, 0.0, None

    def __init__(self, engine: LiveEngine, vanishes_at: int):
        self._engine, self._vanishes_at = engine, vanishes_at
        self.sounded: list[np.ndarray] = []

    def open(self) -> None:
        self.lost = False

    def poll(self) -> bool:
        """A few callbacks for each look."""
        for _ in range(8):
            if self._engine.position == self._vanishes_at and not self._engine.counts.reconnects:
                self.lost = True
                return False
            out = np.empty((BLOCK, 1), np.float32)
            self._engine.play(out)
            self.sounded.append(out[:, 0])
        return True

    def reopen(self) -> bool:
        self._engine.counts.reconnects += 1
        self.open()
        return True

    def losses(self, final: bool = False) -> list[tuple[int, int]]:
        return []

    def close(self) -> None:
        """Nothing is open."""


def test_the_recording_of_a_file_goes_on_where_it_was_when_its_device_comes_back(tmp_path):
    spoken = (np.arange(1, 3 * RATE + 1, dtype=np.float32) / 2**20)[:, None]
    soundfile.write(tmp_path / "file.wav", spoken, RATE, "FLOAT")
    with AudioReader(tmp_path / "file.wav") as reader:
        engine = LiveEngine(Echo(), RATE, BLOCK, captures=False)
        recorder = Recorder(engine, tmp_path / "in.wav", tmp_path / "out.wav")
        device = Vanishing(engine, 100 * BLOCK)
        live = _Live(engine, device, Mixer([""]), recorder, reader)
        live.run(60)
    assert engine.counts.reconnects == 1
    for name in ("in.wav", "out.wav"):  # not a sample too many, none too few, none twice
        recorded, _ = soundfile.read(tmp_path / name, dtype="float32")
        np.testing.assert_array_equal(recorded, spoken[:, 0], name)
    heard = np.concatenate(device.sounded)
    np.testing.assert_array_equal(heard[np.flatnonzero(heard)[0] :][: len(spoken)], spoken[:, 0])


class VanishingMicrophone(Vanishing):
    """It vanishes once, and hears `gap` frames less until it is back, at the second attempt."""

    def __init__(self, engine: LiveEngine, vanishes_at: int, gap: int, end: int):
        super().__init__(engine, vanishes_at)
        self._gap, self._end, self._frame, self._attempts = gap, end, 0, 0

    def settle(self) -> None:
        """At once."""

    def poll(self) -> bool:
        if self._frame == self._vanishes_at and not self._engine.counts.reconnects:
            self.lost = True
        elif self._frame < self._end:
            block = np.arange(self._frame + 1, self._frame + BLOCK + 1, dtype=np.float32)[:, None] / 2**20
            self._engine.capture(block)
            self._engine.play(np.empty((BLOCK, 1), np.float32))
            self._frame += BLOCK
        return not self.lost

    def reopen(self) -> bool:
        self._attempts += 1
        if self._attempts == 1:  # it opened, heard a little and broke off
            self._engine.capture(np.ones((BLOCK, 1), np.float32))
            return False
        self._frame += self._gap
        return super().reopen()

    @property
    def began(self) -> float:
        return 1000 + (self._frame - self._engine.captured.end) / RATE


def test_the_recording_keeps_its_time_where_a_microphone_vanishes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("edge.cli.live.RETRY_SECONDS", 0.01)
    engine = LiveEngine(Echo(), RATE, BLOCK)
    recorder = Recorder(engine, tmp_path / "in.wav", tmp_path / "out.wav")
    device = VanishingMicrophone(engine, 20 * BLOCK, gap=3000, end=3000 + 40 * BLOCK)
    _Live(engine, device, Mixer([""]), recorder, None).run(4)
    assert engine.counts.reconnects == 1 and device._attempts == 2
    told = capsys.readouterr().err
    assert told.count("has vanished") == told.count("is back") == 1
    captured, played = (soundfile.read(tmp_path / name, dtype="float32")[0] for name in ("in.wav", "out.wav"))
    assert len(captured) == 3000 + 40 * BLOCK and not places(captured).any()
    assert not captured[20 * BLOCK :][:3000].any()
    sound = np.flatnonzero(played)
    np.testing.assert_array_equal(played[sound], captured[sound])
