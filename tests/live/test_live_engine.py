"""The live engine on a simulated clock: what is played is the model's result or the dry signal, and never shifts."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cli.livereport import latency_parts
from edge.cli.mixer import Mixer
from edge.cli.status import fit
from edge.runtime.guard import Counts
from edge.runtime.live import LiveEngine
from edge.runtime.ring import Ring
from edge.runtime.session import open_session
from edge.runtime.shaping import Shaping
from edge.runtime.worker import Recorder

RATE = 1000


class Inverter:
    """A session that gives -x in hops, `latency` samples late: dry and wet can be told apart at every position."""

    sample_rate = RATE
    shape_in = shape_out = ()

    def __init__(self, hop: int, latency: int):
        self.latency_samples, self.hop, self.counts = latency, hop, Counts()
        self.resets = 0
        self.reset()

    def reset(self):
        self._kept, self._owed, self._skip = np.zeros(0, np.float32), 0, self.latency_samples - self.hop
        self.resets += 1

    def process(self, samples):
        self._kept = np.concatenate([self._kept, samples])
        self._owed += len(samples)
        ready = max(0, self._owed // self.hop * self.hop - self._skip - (self._owed - len(self._kept)))
        out, self._kept = -self._kept[:ready], self._kept[ready:]
        return out

    def flush(self):
        out = -self._kept
        self.reset()
        return out


def turn(engine: LiveEngine, captured: np.ndarray, out: np.ndarray) -> None:
    """As one device does it that captures and plays at once."""
    engine.capture(captured)
    engine.play(out)


def ramp(start: int, count: int) -> np.ndarray:
    return (np.arange(start, start + count, dtype=np.float32) + 1)[:, None]


@settings(max_examples=200, deadline=None)
@given(
    writes=st.lists(st.integers(0, 40), max_size=30),
    size=st.integers(40, 60),
    asks=st.lists(st.tuples(st.integers(-80, 900), st.integers(0, 70)), max_size=30),
)
def test_ring_against_a_list(writes, size, asks):
    ring, written = Ring(size, 2), np.zeros((0, 2), np.float32)
    ring.clear(-10, 0)
    for i in range(max(len(writes), len(asks))):
        if i < len(writes):
            block = np.repeat(ramp(len(written), writes[i]), 2, axis=1)
            ring.write(block)
            written = np.concatenate([written, block])
            assert ring.end == len(written)
        if i < len(asks):
            position, count = asks[i]
            out = np.full((count, 2), -7, np.float32)
            got = ring.read(position, out)
            there = np.arange(position, position + count)
            known = (there >= max(-10, len(written) - size)) & (there < len(written))
            expected = int(np.argmin(known)) if not known.all() else count
            assert got == expected
            np.testing.assert_array_equal(out[:got, 0], np.maximum(0, there[:got] + 1))
            assert (out[got:] == -7).all()


def test_ring_between_two_threads():
    """Every read that says it is good is good, whatever the other thread does meanwhile."""
    ring, stop, wrong, good = Ring(512, 1), threading.Event(), [], [0]

    def reader():
        out = np.zeros((100, 1), np.float32)
        while not stop.is_set():
            position = max(0, ring.end - 300)
            got = ring.read(position, out, spare=64)
            good[0] += got
            if got and not np.array_equal(out[:got], ramp(position, got)):
                wrong.append(position)

    thread = threading.Thread(target=reader)
    thread.start()
    for at in range(0, 64 * 20_000, 64):
        ring.write(ramp(at, 64))
    stop.set()
    thread.join()
    assert not wrong and good[0]


BLOCKS = st.integers(1, 50)


@settings(max_examples=120, deadline=None)
@given(block=BLOCKS, hop=st.integers(1, 80), extra=st.integers(0, 60), count=st.integers(1, 60))
def test_a_worker_in_time_is_heard_whole(block, hop, extra, count):
    """One block of time for the worker, as the delay promises: model + two blocks from end to end."""
    engine = LiveEngine(Inverter(hop, hop + extra), RATE, block)
    engine.start()
    assert engine.round_trip == hop + extra + 2 * block
    played = []
    for k in range(count):
        out = np.empty((block, 1), np.float32)
        turn(engine, ramp(k * block, block), out)
        played.append(out)
        while engine.work():
            pass
    whole = np.concatenate(played)[:, 0]
    delay = engine.round_trip - block  # between the same callback's input and output
    expected = np.concatenate([np.zeros(delay), -ramp(0, len(whole))[:, 0]])[: len(whole)]
    np.testing.assert_array_equal(whole, expected)
    assert engine.counts.late_frames == engine.counts.late_hops == 0


@settings(max_examples=200, deadline=None)
@given(
    block=st.integers(4, 50),
    hop=st.integers(1, 80),
    extra=st.integers(0, 60),
    work=st.lists(st.integers(0, 4), min_size=5, max_size=120),
)
def test_late_results_are_replaced_and_counted_and_nothing_shifts(block, hop, extra, work):
    engine = LiveEngine(Inverter(hop, hop + extra), RATE, block)
    engine.start()
    fade, played, late = engine.fades.frames, [], []
    for k, steps in enumerate(work):
        start, missing = k * block - engine.delay, engine.counts.late_frames
        out = np.empty((block, 1), np.float32)
        turn(engine, ramp(k * block, block), out)
        played.append(out[:, 0])
        missing = engine.counts.late_frames - missing
        late += range(start + block - missing, start + block)
        for _ in range(steps):
            engine.work()
    whole = np.concatenate(played)
    position = np.arange(len(whole)) - engine.delay
    true = np.maximum(0, position + 1).astype(np.float32)
    is_late = np.isin(position, late)
    assert engine.counts.late_frames == is_late.sum()
    assert engine.counts.late_hops == len({p // hop for p in late})
    # away from a change by more than a fade, the sample is the result or, where it was late, the dry one: exactly
    changes = np.flatnonzero(np.diff(is_late.astype(int))) + 1
    calm = np.all([np.abs(np.arange(len(whole)) - change) > 2 * fade for change in changes] or [True], axis=0)
    calm = np.broadcast_to(calm, whole.shape)
    np.testing.assert_array_equal(whole[calm & is_late], true[calm & is_late])
    np.testing.assert_array_equal(whole[calm & ~is_late], -true[calm & ~is_late])
    # in a fade it is between the two, give or take what is held over from the sample before it
    assert np.all(np.abs(whole) <= 2 * true + 2 * block + hop + 1)


def test_going_dry_and_back_makes_no_step():
    """A wet constant against a dry one: the largest step is that of a 5-ms fade."""
    rate, block = 16000, 160
    session = Inverter(160, 320)
    session.sample_rate = rate
    engine = LiveEngine(session, rate, block)
    engine.start()
    played = []
    for k in range(60):
        out = np.empty((block, 1), np.float32)
        turn(engine, np.ones((block, 1), np.float32), out)
        played.append(out[:, 0])
        if not 20 <= k < 30:
            while engine.work():
                pass
        engine.bypass = 40 <= k < 50
    whole = np.concatenate(played)[engine.delay + 100 :]
    assert np.abs(np.diff(whole)).max() <= 2.02 / engine.fades.frames
    assert whole.min() == -1 and whole.max() == 1 and whole[-1] == -1
    assert engine.counts.late_blocks == 9  # of ten: where a block is a hop, a hop of the latency is never used up


def test_a_worker_far_behind_starts_again_at_the_present():
    session = Inverter(10, 20)
    engine = LiveEngine(session, RATE, 10)
    engine.start()
    out = np.empty((10, 1), np.float32)
    for k in range(1000):
        turn(engine, ramp(k * 10, 10), out)
    assert engine.work() and engine.counts.skips == 1
    for k in range(1000, 1020):
        turn(engine, ramp(k * 10, 10), out)
        while engine.work():
            pass
    np.testing.assert_array_equal(out, -ramp(1019 * 10 - engine.delay, 10))


def test_two_blocks_at_a_time_are_one_block_of_twice_the_size():
    """Both hand over two blocks in turns, and the worker runs after them, as where the one wakes the other."""
    engine, played = LiveEngine(Inverter(10, 20), RATE, 10), []
    for k in range(-120, 100, 2):
        if k == 0:
            engine.start()
        for j in (k, k + 1):
            engine.capture(ramp(j * 10, 10))
        for _ in range(2):
            out = np.empty((10, 1), np.float32)
            engine.play(out)
            if k >= 0:
                played.append(out[:, 0])
        while engine.work():
            pass
    assert engine.lead + engine.block == 20 + 2 * 20
    whole = np.concatenate(played)
    assert not whole[: engine.lead].any()
    np.testing.assert_array_equal(whole[engine.lead :], -ramp(0, len(whole) - engine.lead)[:, 0])
    assert engine.counts.late_frames == engine.counts.jumps == 0


def test_of_a_files_last_block_only_its_own_frames_count():
    engine = LiveEngine(Inverter(10, 20), RATE, 10, captures=False)
    for count in (10, 10, 5):
        engine.captured.write(ramp(engine.captured.end, count))
    while engine.work():
        pass
    engine.finish()
    for _ in range(5):
        engine.play(np.empty((10, 1), np.float32))
    assert engine.counts.frames == 25


def test_what_was_added_to_the_latency_has_a_name_of_its_own():
    engine = LiveEngine(Inverter(10, 20), RATE, 10)
    before = latency_parts(engine, SimpleNamespace(latency=0.5))
    engine.lengthen()
    parts = latency_parts(engine, SimpleNamespace(latency=0.5))
    assert parts == before | {"spare": pytest.approx(10), "round_trip": pytest.approx(before["round_trip"] + 10)}
    assert (before["spare"], before["compute"]) == (0, 0)


def test_one_microphone_channel_feeds_a_model_of_two():
    class Stereo(Inverter):
        shape_in = shape_out = (2,)

        def process(self, samples):
            assert samples.shape[0] == 2 and np.array_equal(samples[0], samples[1])
            return np.stack([Inverter.process(self, samples[0])] * 2)

    engine = LiveEngine(Stereo(10, 20), RATE, 10, outputs=1)
    engine.start()
    for k in range(20):
        out = np.empty((10, 1), np.float32)
        turn(engine, ramp(k * 10, 10), out)
        while engine.work():
            pass
    np.testing.assert_array_equal(out, -ramp(190 - engine.delay, 10))


@pytest.mark.parametrize("frames", [10, 4])
def test_a_delay_that_grows_repeats_a_block_and_keeps_the_recording_exact(frames):
    """After it, bursts of two blocks come in time; nothing is lost or doubled by position."""
    engine = LiveEngine(Inverter(10, 20), RATE, 10)
    engine.start()
    before, played, recorded = engine.delay, [], []
    for k in range(0, 200, 2):
        if k == 100:
            engine.lengthen()
        for j in (k, k + 1):
            out = np.empty((frames, 1), np.float32)
            turn(engine, ramp(j * frames, frames), out)
            played.append(out[:, 0])
        while engine.work():
            pass
        if k == 100:
            late = engine.counts.late_frames
    assert engine.delay == before + 10 == engine.lead
    assert engine.counts.late_frames == late  # none since
    whole = np.concatenate(played)
    end = len(whole)
    tail = 20 * frames
    np.testing.assert_array_equal(whole[end - tail :], -ramp(end - tail - engine.delay, tail)[:, 0])
    recorded = np.zeros((end - engine.delay, 1), np.float32)
    assert engine.played.end == end - engine.delay == engine.played.read(0, recorded)
    outside = np.r_[0 : 100 * frames - 20, 100 * frames + 20 : len(recorded)]
    np.testing.assert_array_equal(np.abs(recorded[outside, 0]), ramp(0, len(recorded))[outside, 0])


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("block_ms", [5, 10, 21.3])
def test_device_rates_keep_the_alignment(enhancer_bundle, rate, block_ms):
    """The tiny enhancer halves: a tone comes back at half its level, `delay` frames late, to 60 dB."""
    from edge.bundle import snr_db

    session = open_session(enhancer_bundle, "onnx")
    block = round(block_ms / 1000 * rate)
    engine = LiveEngine(session, rate, block)
    engine.start()
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate // block * block) / rate)).astype(np.float32)
    played = []
    for part in tone.reshape(-1, block, 1):
        out = np.empty((block, 1), np.float32)
        turn(engine, part, out)
        played.append(out[:, 0])
        while engine.work():
            pass
    assert engine.counts.late_frames == 0
    whole = np.concatenate(played)
    inner = slice(rate // 4, -rate // 4)
    assert snr_db(0.5 * tone[: -engine.delay][inner], whole[engine.delay :][inner]) > 60
    if rate == 16000:
        assert engine.round_trip == session.latency_samples + 2 * block


def test_sources_are_mixed_by_their_gains(separator_bundle):
    session = open_session(separator_bundle, "onnx", latency=0.1)
    engine = LiveEngine(session, 44100, 441, outputs=2, compute=session.hop)
    engine.start()
    audio = (0.1 * np.random.default_rng(0).standard_normal((441 * 100, 2))).astype(np.float32)
    played = []
    for k, part in enumerate(audio.reshape(-1, 441, 2)):
        if k == 50:
            engine.set_gains(np.float32([1, 1, 1, 0]))  # the last stem has 0.4 of it
        out = np.empty((441, 2), np.float32)
        turn(engine, part, out)
        played.append(out)
        while engine.work():
            pass
    whole = np.concatenate(played)
    late = engine.delay
    np.testing.assert_allclose(whole[late : 50 * 441], audio[: 50 * 441 - late], atol=1e-5)
    np.testing.assert_allclose(whole[51 * 441 :], 0.6 * audio[51 * 441 - late : -late], atol=1e-5)
    assert engine.counts.late_frames == 0


def test_nothing_is_played_before_the_start():
    engine = LiveEngine(Inverter(10, 20), RATE, 10)
    out = np.ones((10, 1), np.float32)
    turn(engine, np.ones((10, 1), np.float32), out)
    assert not out.any() and not engine.work() and engine.counts.frames == 0 == engine.captured.end


def test_the_callback_allocates_nothing_in_steady_state():
    import tracemalloc

    engine = LiveEngine(Inverter(10, 20), RATE, 10)
    engine.start()
    captured, out = np.zeros((10, 1), np.float32), np.zeros((10, 1), np.float32)
    engine._wet.write(np.zeros((engine.capacity, 1), np.float32))  # results for the whole test
    for _ in range(20):
        turn(engine, captured, out)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(100):
        turn(engine, captured, out)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 2000  # a few numbers and views, gone at once


def test_fades_allocate_nothing_of_a_blocks_size():
    import tracemalloc

    engine = LiveEngine(Inverter(4000, 4000), RATE, 4000)
    engine.start()
    captured, out = np.ones((4000, 1), np.float32), np.zeros((4000, 1), np.float32)
    turn(engine, captured, out)
    tracemalloc.start()
    before, counted = tracemalloc.get_traced_memory()[0], 0
    for k in range(20):  # late all the time; changing gains, bypassed and not
        engine.bypass = k % 4 == 0
        engine.fades.gains = engine.fades.gains.copy()
        tracemalloc.reset_peak()
        turn(engine, captured, out)
        counted = max(counted, tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert counted < 8000  # views and numbers; a block is 16000 bytes


def test_keys():
    mixer = Mixer(["drums", "bass", "other", "vocals"])
    for keys, gains in (
        ("4", [1, 1, 1, 0]),
        ("1", [0, 1, 1, 0]),
        ("14", [1, 1, 1, 1]),
        ("s2", [0, 1, 0, 0]),
        ("@", [1, 1, 1, 1]),
        ("$", [0, 0, 0, 1]),
        ("m1", [0, 0, 0, 1]),
        ("$9xs\n5", [0, 1, 1, 1]),
    ):
        for key in keys:
            mixer.key(key)
        np.testing.assert_array_equal(mixer.gains(), np.float32(gains))
    assert not mixer.bypass
    mixer.key("b")
    assert mixer.bypass and str(mixer) == "bypass"
    mixer.key("b")
    assert str(mixer) == "1:(drums) 2:bass 3:other 4:vocals"


def test_strength_keys():
    mixer = Mixer(["enhanced"])
    seen = []
    for key in "--" + "-" * 12 + "+" + "=" * 12:
        mixer.key(key)
        seen.append(mixer.limit)
    assert seen[:2] == [30, 27] and 0 in seen and seen[14] == 3 and seen[-1] is None
    mixer.key("-")
    assert str(mixer) == "at most 30 dB"
    stems = Mixer(["drums", "bass"], None)
    stems.key("-")
    assert stems.limit is None


def test_the_strength_changes_while_it_runs():
    """The model inverts: at 0 dB the input is played, without a limit its opposite, between them no jump."""
    engine = LiveEngine(Inverter(10, 20), RATE, 10, shaping=Shaping(atten_limit=0))
    engine.start()
    played = []
    for k in range(60):
        if k == 20:
            engine.set_limit(None)
        if k == 40:
            engine.set_limit(6)
        out = np.empty((10, 1), np.float32)
        turn(engine, np.ones((10, 1), np.float32), out)
        played.append(out[:, 0])
        while engine.work():
            pass
    whole = np.concatenate(played)[engine.delay :]
    np.testing.assert_array_equal(whole[:100], 1)
    np.testing.assert_array_equal(whole[220:300], -1)
    share = 10 ** (-6 / 20)
    np.testing.assert_allclose(whole[-100:], 2 * share - 1, atol=1e-6)
    assert np.abs(np.diff(whole)).max() < 0.25


def test_a_narrow_terminal_gets_a_short_line():
    parts = {
        "in": "[###] -20 dB",
        "out": "[##] -30 dB",
        "RTF": "0.050",
        "late": "3",
        "xruns": "0",
        "": "1:drums 2:(bass)",
    }
    assert fit(parts, 200) == "in [###] -20 dB | out [##] -30 dB | RTF 0.050 | late 3 | xruns 0 | 1:drums 2:(bass)"
    for width in range(5, 90):
        line = fit(parts, width)
        assert len(line) <= width and (width < 26 or ("late 3 | " in line and "(bass)" in line))


def test_a_gap_in_the_recording_is_silence_of_its_length(tmp_path):
    engine = LiveEngine(Inverter(10, 20), RATE, 10)
    recorder = Recorder(engine, tmp_path / "in.wav", tmp_path / "out.wav")
    for gap in (0, 730):
        if gap:
            recorder.restart()
            engine.restart()
            recorder.skip(gap)
        engine.start()
        for k in range(50):
            turn(engine, 0.001 * ramp(k * 10, 10), np.empty((10, 1), np.float32))
            while engine.work():
                pass
        recorder.step()
    recorder.close()
    captured, _ = soundfile.read(tmp_path / "in.wav", dtype="float32")
    part = 0.001 * ramp(0, 500)[:, 0]
    np.testing.assert_allclose(captured, np.concatenate([part, np.zeros(730), part]), atol=1e-4)
    played, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    late = engine.delay
    np.testing.assert_allclose(np.abs(played[: 500 - late]), part[: 500 - late], atol=1e-4)
    assert np.abs(played[500 - late : 1230]).max() == 0 and recorder.lost == 2 * 730
    np.testing.assert_allclose(np.abs(played[1230:]), part[: 500 - late], atol=1e-4)  # aligned as before


def test_what_was_never_played_is_not_lost(tmp_path):
    """A jump by more than the ring holds: only what was played and not yet written is gone."""
    engine = LiveEngine(Inverter(10, 20), RATE, 10)
    recorder = Recorder(engine, tmp_path / "in.wav", tmp_path / "out.wav")
    engine.played.write(0.001 * ramp(0, 300))
    recorder.step(200)
    engine.played.skip(300 + 3 * engine.capacity)
    engine.played.write(0.001 * ramp(0, 50))
    recorder.close()
    assert recorder.lost == 100
    played, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert len(played) == 350 + 3 * engine.capacity and not played[200:-50].any()
    np.testing.assert_allclose(played[-50:], 0.001 * ramp(0, 50)[:, 0], atol=1e-6)
