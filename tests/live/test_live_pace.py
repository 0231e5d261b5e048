"""Two devices that serve blocks as they like, pause, lose something or have clocks of their own: playing keeps close
behind capturing, in time, and by position nothing shifts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_live_engine import Inverter, ramp

from edge.cli.live import _Live
from edge.cli.mixer import Mixer
from edge.runtime.live import LiveEngine
from edge.runtime.pace import TOLERANCE

RATE, BLOCK, HOP = 1000, 10, 10
MODEL = 2 * HOP
TOLERATED = max(2 * BLOCK, round(TOLERANCE * RATE))


class Devices:
    """A microphone and a loudspeaker on simulated clocks, with a worker that is always in time."""

    def __init__(self, reads: int = 1, writes: int = 1, drift: float = 0.0):
        """reads, writes: blocks that they hand over at a time. drift: of the loudspeaker's clock."""
        self.engine = LiveEngine(Inverter(HOP, MODEL), RATE, BLOCK)
        self._live = _Live(self.engine, SimpleNamespace(latency=0.0), Mixer([""]), None, None)
        self.reads, self.writes, self.drift = reads, writes, drift
        self.spoken = 0  # frames that the microphone has heard
        self.first_spoken: int | None = None  # of position 0
        self._now, self._due = 0, 0.0
        self._positions: list[int] = []  # of what was played, by block
        self.played: list[np.ndarray] = []
        self.lags: list[int] = []  # frames from what is spoken now to what is played now

    def run(self, blocks: int, hears: bool = True, plays: bool = True) -> None:
        """Let so many blocks' time pass."""
        engine = self.engine
        for _ in range(blocks):
            self._now += 1
            if self._now % self.reads == 0:
                for _ in range(self.reads):
                    if hears:
                        if engine.started and self.first_spoken is None:
                            self.first_spoken = self.spoken
                        engine.capture(ramp(self.spoken - (self.first_spoken or 0), BLOCK))
                    self.spoken += BLOCK
            while engine.work():
                pass
            self._due += 1 + self.drift
            while self._due >= self.writes:
                self._due -= self.writes
                for _ in range(self.writes if plays else 0):
                    out = np.empty((BLOCK, 1), np.float32)
                    engine.play(out)
                    if engine.counts.frames:
                        self.played.append(out[:, 0])
                        self._positions.append(engine.position - BLOCK)
                        self.lags.append(self.spoken - self.first_spoken - engine.position)
            if engine.started:
                self._live._adapt()

    def wrong(self) -> int:
        """Frames that are not the model's result for their position, fades and silence apart."""
        wrong = 0
        for position, block in zip(self._positions, self.played, strict=True):
            result = -np.maximum(0, np.arange(position, position + BLOCK) + 1).astype(np.float32)
            wrong += int(np.count_nonzero(block != result))
        return wrong


@settings(max_examples=60, deadline=None)
@given(reads=st.integers(1, 8), writes=st.integers(1, 8), late=st.integers(0, 30), blocks=st.integers(1, 200))
def test_the_second_before_the_start_tells_how_close_playing_may_follow(reads, writes, late, blocks):
    """However devices hand over their blocks, whichever was opened first: no result is late, and none waits long."""
    devices = Devices(reads, writes)
    devices.run(late, plays=False)
    devices.run(150 + reads * writes)
    devices.engine.start()
    devices.run(blocks)
    engine = devices.engine
    assert engine.counts.late_frames == engine.counts.jumps == 0 and devices.wrong() == 0
    if devices.lags:
        assert max(devices.lags) <= MODEL + (2 * reads + 2 * writes) * BLOCK + BLOCK


@pytest.mark.parametrize("drift", [0.003, -0.003, 0.0005, -0.0005])
def test_clocks_that_differ_never_add_up(drift):
    """Playing jumps now and then, by a fade; the lag stays as it was, and hardly a result is late."""
    devices = Devices(drift=drift)
    devices.run(150)
    devices.engine.start()
    devices.run(100)
    usual = np.median(devices.lags)
    devices.run(30_000)
    engine, moved = devices.engine, abs(drift) * 30_000 * BLOCK
    assert moved / (3 * TOLERATED) <= engine.counts.jumps <= moved / BLOCK + 1
    assert engine.spare == 0
    assert np.abs(np.array(devices.lags) - usual).max() <= TOLERATED + 2 * BLOCK
    # some blocks until it is seen that results are late; where the loudspeaker is slow, they never are
    assert engine.counts.late_share <= (1.5 * drift if drift > 0 else 0)
    fades = 2 * engine.fades.frames  # to what is dry and back
    assert devices.wrong() <= engine.counts.late_frames + fades * (engine.counts.late_blocks + engine.counts.jumps)


@pytest.mark.parametrize("pause", [5, 30, 200, 700])
def test_after_an_output_that_paused_the_lag_is_what_it_was(pause):
    """What it did not play is silent in the recording of the output; the input's lacks nothing."""
    devices = Devices()
    devices.run(150)
    devices.engine.start()
    devices.run(100)
    usual = devices.lags[-1]
    devices.run(pause, plays=False)
    devices.run(150)
    engine = devices.engine
    assert devices.lags[-1] <= usual + TOLERATED and engine.counts.jumps == 1
    assert abs(engine.counts.jumped_frames - pause * BLOCK) <= TOLERATED
    recorded = np.zeros((100, 1), np.float32)
    for ring, sign in ((engine.captured, 1), (engine.played, -1)):
        assert ring.read(ring.end - 100, recorded) == 100
        np.testing.assert_array_equal(recorded, sign * ramp(ring.end - 100, 100))
    assert engine.captured.end == (100 + pause + 150) * BLOCK
    unplayed = np.setdiff1d(np.arange(0, engine.position), np.add.outer(devices._positions, np.arange(BLOCK)))
    if len(unplayed) and unplayed[0] > engine.played.end - engine.capacity:
        silent = np.ones((len(unplayed), 1), np.float32)
        assert engine.played.read(int(unplayed[0]), silent) == len(unplayed) and not silent.any()


def test_after_a_loss_of_the_input_playing_goes_back():
    devices = Devices()
    devices.run(150)
    devices.engine.start()
    devices.run(100)
    usual = devices.engine.captured.end - devices.engine.position
    devices.run(30, hears=False)
    devices.run(250)
    engine = devices.engine
    assert usual <= engine.captured.end - engine.position <= usual + TOLERATED and engine.counts.jumps == 1
    late = engine.counts.late_frames
    assert late <= (30 + 110) * BLOCK  # a second until it is seen
    devices.run(100)
    assert engine.counts.late_frames == late


def test_a_worker_that_is_late_moves_nothing():
    """The devices run on as before: what is late is dry, and playing only waits longer by the blocks that are told."""
    devices = Devices()
    devices.run(150)
    devices.engine.start()
    devices.run(100)
    engine = devices.engine
    lead, work = engine.lead, engine.work
    engine.work = lambda: False  # type: ignore[method-assign]
    devices.run(180)
    engine.work = work  # type: ignore[method-assign]
    devices.run(150)
    assert engine.lead == lead + engine.spare and engine.counts.jumps == 0
    assert engine.counts.late_frames > 100 * BLOCK
    late = engine.counts.late_frames
    devices.run(100)
    assert engine.counts.late_frames == late


@pytest.mark.parametrize("phase", [0.0, 0.1, 0.21, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("drift", [0.0, 2e-4, -2e-4])
def test_a_worker_that_takes_its_time_is_in_time(phase, drift):
    """Long blocks, callbacks some time off their place, and a third of a block's time to infer each."""
    block, random, jitter, cost = 40, np.random.default_rng(0), 0.2, 0.3
    engine = LiveEngine(Inverter(HOP, MODEL), RATE, block)
    live = _Live(engine, SimpleNamespace(latency=0.0), Mixer([""]), None, None)
    places = np.arange(1500)  # a minute
    hears = places + random.uniform(0, jitter, len(places))
    plays = (places + phase) * (1 - drift) + random.uniform(0, jitter, len(places))
    ready, position = np.inf, 0  # when the worker is
    for now, is_play in sorted([*((at, False) for at in hears), *((at, True) for at in plays)]):
        while ready <= now:
            engine.work()
            ready = ready + cost if engine.captured.end > engine._taken else np.inf
        if is_play:
            engine.play(np.empty((block, 1), np.float32))
        else:
            engine.capture(ramp(position, block))
            position += block
            if not engine.started:
                engine.work()
            elif ready == np.inf:
                ready = now + cost
        if engine.started:
            live._adapt()
        elif now > 40:
            engine.start()
    assert engine.counts.frames > 1000 * block
    assert engine.counts.late_frames == engine.counts.jumps == engine.spare == 0


@pytest.mark.parametrize("phase", range(0, 200, 7))
def test_a_loss_of_the_input_makes_nothing_longer(phase):
    """Wherever it falls in the two seconds of which the late share is taken."""
    devices = Devices()
    devices.run(150)
    devices.engine.start()
    devices.run(100 + phase)
    devices.run(30, hears=False)
    devices.run(700)
    engine = devices.engine
    assert engine.spare == 0 and engine.counts.jumps == 1
    late = engine.counts.late_frames
    devices.run(100)
    assert engine.counts.late_frames == late


def test_an_input_that_begins_late_makes_no_jump():
    """The output had paused, so it counts less; what the input kept for a while comes at once."""
    devices = Devices()
    devices.run(150, plays=False)
    devices.run(150)
    engine = devices.engine
    engine.start()
    devices.run(30, hears=False)
    devices.first_spoken = devices.spoken = devices.spoken - 30 * BLOCK
    for _ in range(30):
        engine.capture(ramp(devices.spoken - devices.first_spoken, BLOCK))
        devices.spoken += BLOCK
    devices.run(500)
    assert engine.counts.jumps == engine.spare == 0
    assert engine.captured.end - engine.position == MODEL + BLOCK  # what the worker has more than it needs


def test_what_is_not_captured_yet_is_silence_without_a_step():
    session = Inverter(160, 320)
    session.sample_rate = 16_000
    engine = LiveEngine(session, 16_000, 160)
    engine.start()
    played = []
    for k in range(60):
        for _ in range(0 if 20 <= k < 30 else 11 if k == 30 else 1):
            engine.capture(np.ones((160, 1), np.float32))
        out = np.empty((160, 1), np.float32)
        engine.play(out)
        played.append(out[:, 0])
        while engine.work():
            pass
    whole = np.concatenate(played)[engine.delay + 100 :]
    assert np.abs(np.diff(whole)).max() <= 2.02 / engine.fades.frames
    assert (whole == 0).sum() > 900 and (whole[-3000:] == -1).all()
