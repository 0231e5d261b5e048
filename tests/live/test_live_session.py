"""The session contract: both tasks, both backends, both time bases; silence, faults, and what process() keeps."""

import tracemalloc

import numpy as np
import pytest
from conftest import GAINS, HOP, SEGMENT
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import open_bundle, snr_db
from edge.errors import EdgeError, InputError
from edge.runtime.graphs import load_graph
from edge.runtime.lowlatency import LatencyPlan, LowLatencySeparator, RunningStatistics, latency_plan
from edge.runtime.session import Live, new_session, open_session
from edge.runtime.streams import SILENT_HOPS, EnhancerStream, Separator, Statistics

BACKENDS = ["onnx", "executorch"]
SIZES = st.lists(st.integers(1, 3 * HOP), min_size=1, max_size=5)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def pieces(audio: np.ndarray, sizes: list[int]):
    start, i = 0, 0
    while start < audio.shape[-1]:
        size = sizes[i % len(sizes)]
        yield audio[..., start : start + size]
        start, i = start + size, i + 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("task", ["enhance", "separate"])
def test_one_contract(both_enhancer_path, both_separator_path, task, backend):
    bundle = open_bundle(both_enhancer_path if task == "enhance" else both_separator_path)
    audio = noise(20_000) if task == "enhance" else noise(2, 20_000)
    expected = 0.5 * audio if task == "enhance" else GAINS[:, None, None] * audio
    session = open_session(bundle, backend)
    assert session.sample_rate == bundle.manifest.sample_rate
    for _ in range(2):  # flush resets
        parts = [session.process(piece) for piece in pieces(audio, [1, 777, 4000])]
        out = np.concatenate([*parts, session.flush()], axis=-1)
        assert out.dtype == np.float32 and out.shape == expected.shape
        assert snr_db(expected, out) > 100
    session.process(audio)
    session.reset()
    assert snr_db(expected, np.concatenate([session.process(audio), session.flush()], axis=-1)) > 100


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 6 * HOP), sizes=SIZES)
def test_live_form_of_the_enhancer(enhancer_bundle, length, sizes):
    """n in, n out, `latency_samples` later, to the sample."""
    live = Live(open_session(enhancer_bundle, "onnx"))
    audio = noise(length, seed=length)
    for _ in range(2):
        outs = []
        for piece in pieces(audio, sizes):
            out = live.process(piece)
            assert out.shape == piece.shape
            outs.append(out)
        whole = np.concatenate([*outs, live.flush()])
        late = live.latency_samples
        np.testing.assert_array_equal(whole, np.concatenate([np.zeros(late, np.float32), 0.5 * audio]))


@settings(max_examples=30, deadline=None)
@given(
    latency=st.floats(0.1, SEGMENT / 44100),
    length=st.integers(0, 4 * SEGMENT),
    sizes=st.lists(st.integers(1, 2 * SEGMENT), min_size=1, max_size=4),
)
def test_live_form_of_the_separator(separator_bundle, latency, length, sizes):
    live = Live(open_session(separator_bundle, "onnx", latency=min(latency, 0.1)))
    audio = noise(2, length, seed=length)
    outs = [live.process(piece) for piece in pieces(audio, sizes)]
    assert [o.shape[-1] for o in outs] == [p.shape[-1] for p in pieces(audio, sizes)]
    whole = np.concatenate([*outs, live.flush()], axis=-1)
    late = live.latency_samples
    assert whole.shape == (len(GAINS), 2, length + late) and late == round(44100 * 0.1)
    assert not whole[..., :late].any()
    np.testing.assert_allclose(whole[..., late:], GAINS[:, None, None] * audio, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    hop=st.integers(1, 200),
    lookahead=st.integers(0, 100),
    fade=st.integers(0, 50),
    length=st.integers(0, 900),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4),
)
def test_low_latency_takes_the_newest_part_that_has_its_look_ahead(hop, lookahead, fade, length, sizes):
    """Against the definition: a graph whose output tells the position in the segment."""
    fade = min(fade, hop)
    segment = 400
    plan = LatencyPlan(hop, lookahead, fade)
    ramp = np.arange(segment, dtype=np.float32)

    def graph(arrays):
        return [np.broadcast_to(ramp, (1, 1, 2, segment)).copy()]

    separator = LowLatencySeparator(tiny_manifest(segment), graph, plan)
    separator._statistics.count = 10**12  # so that the scale stays the one known here
    separator._statistics._squares = 10**12
    separator._statistics._most = 10**13
    audio = noise(2, length)
    audio[np.abs(audio) < 1e-3] = 1e-3  # no segment is silent
    out = np.concatenate([*(separator.process(p) for p in pieces(audio, sizes)), separator.flush()], axis=-1)
    assert out.shape == (1, 2, length)
    for at in range(length):
        run = -(-(at + 1 + lookahead + fade) // hop)  # the first that has `lookahead + fade` samples after it
        end = run * hop  # of its segment
        new = segment - (end - at)
        old = new + hop
        into = at - (end - hop - lookahead - fade)
        first = run * hop - hop <= 0
        share = into / fade if into < fade else 1.0
        expected = share * new + (1 - share) * (0 if first else old)
        assert out[0, 0, at] == pytest.approx(expected, abs=0.01), (at, run)


def tiny_manifest(segment: int):
    from types import SimpleNamespace

    from edge.bundle import TensorSpec

    return SimpleNamespace(
        name="tiny",
        sample_rate=1000,
        segment=segment,
        channels=2,
        sources=["all"],
        inputs=[TensorSpec("mix", (1, 2, segment))],
        outputs=[TensorSpec("stems", (1, 1, 2, segment))],
    )


def test_latency_of_each_task(enhancer_bundle, separator_bundle):
    with pytest.raises(InputError, match=r"fixed \(40 ms\)"):
        open_session(enhancer_bundle, "onnx", latency=0.5)
    for wrong in (0.05, 5.0):
        with pytest.raises(InputError, match=r"outside 0\.1 to 0\.1 s"):
            open_session(separator_bundle, "onnx", latency=wrong)
    plan = latency_plan(separator_bundle.manifest)
    assert plan.latency == SEGMENT and plan.crossfade <= plan.hop


def test_running_statistics_forget_after_a_minute():
    statistics = RunningStatistics(1000)
    for level in (1.0, 0.1):
        for seed in range(600):
            statistics.update(level * np.random.default_rng(seed).standard_normal((1000, 2)).astype(np.float32))
    assert statistics.std == pytest.approx(0.1 / np.sqrt(2), rel=0.05)


def test_consistent_stems_add_up_to_the_mix(separator_bundle):
    """The gains' sum is 1, so they are halved first: half of the mix is missing."""
    graph = load_graph(separator_bundle, "onnx")
    audio = noise(2, 20_000) + 0.1
    statistics = Statistics()
    statistics.update(audio.T)
    manifest = separator_bundle.manifest

    def half(arrays):
        return [0.5 * graph(arrays)[0]]

    for separator in (
        Separator(manifest, half, statistics.mean, statistics.std, consistent=True),
        LowLatencySeparator(manifest, half, latency_plan(manifest), consistent=True),
    ):
        stems = np.concatenate([separator.process(audio), separator.flush()], axis=-1)
        np.testing.assert_allclose(stems.sum(axis=0), audio, atol=1e-5)


# Silence


def talk(hops: int, seed: int = 0) -> np.ndarray:
    return noise(hops * HOP, seed=seed)


@settings(max_examples=40, deadline=None)
@given(before=st.integers(1, 5), pause=st.integers(0, 12), after=st.integers(1, 5), sizes=SIZES)
def test_a_pause_is_heard_as_five_hops(enhancer_bundle, before, pause, after, sizes):
    """The graph's own output for the same audio with the pause cut to five hops is the oracle."""
    graph = load_graph(enhancer_bundle, "onnx")
    first, second = talk(before, 1), talk(after, 2)
    audio = np.concatenate([first, np.zeros(pause * HOP, np.float32), second])
    stream = EnhancerStream(enhancer_bundle.manifest, graph)
    out = np.concatenate([*(stream.process(p) for p in pieces(audio, sizes)), stream.flush()])
    assert len(out) == len(audio)

    kept = min(pause, SILENT_HOPS)
    shortened = np.concatenate([first, np.zeros(kept * HOP, np.float32), second, np.zeros(HOP, np.float32)])
    state, raw = np.zeros((1, HOP), np.float32), []
    for hop in shortened.reshape(-1, HOP):
        enhanced, state = graph([hop[None], state])
        raw.append(enhanced[0])
    raw = np.concatenate(raw)[HOP:]
    np.testing.assert_array_equal(out[: before * HOP], raw[: before * HOP])
    np.testing.assert_array_equal(out[(before + pause) * HOP :], raw[(before + kept) * HOP :])
    assert stream.counts.inferences == before + kept + after + 1
    assert stream.counts.hops == before + pause + after + 1


def test_what_a_model_leaves_in_a_pause_fades_out_and_in(enhancer_bundle):
    """A model with a hum of its own: zero from the fifth silent hop on, and never a step larger than the hum's."""
    hum = np.full((1, HOP), 1e-3, np.float32)

    def graph(arrays):
        return [arrays[1] + hum, arrays[0].copy()]

    stream = EnhancerStream(enhancer_bundle.manifest, graph)
    audio = np.concatenate([np.full(3 * HOP, 1e-3), np.zeros(20 * HOP), np.full(3 * HOP, 1e-3)]).astype(np.float32)
    out = np.concatenate([stream.process(audio), stream.flush()])
    silent = out[(3 + SILENT_HOPS) * HOP : 21 * HOP]
    assert not silent.any()
    assert np.abs(np.diff(out)).max() <= 1.001e-3
    np.testing.assert_allclose(out[: 3 * HOP], 2e-3, atol=1e-9)
    np.testing.assert_allclose(out[-3 * HOP :], 2e-3, atol=1e-9)


def test_denormals_are_silence(enhancer_bundle):
    stream = EnhancerStream(enhancer_bundle.manifest, load_graph(enhancer_bundle, "onnx"))
    out = stream.process(np.full(100 * HOP, 1e-40, np.float32))
    assert stream.counts.inferences == SILENT_HOPS and stream.counts.bad_inputs == 0
    assert not out[SILENT_HOPS * HOP :].any() and np.isfinite(out).all()


def test_silent_segments_are_not_separated(separator_bundle):
    manifest, graph = separator_bundle.manifest, load_graph(separator_bundle, "onnx")
    runs = []

    def counted(arrays):
        runs.append(1)
        return graph(arrays)

    audio = np.zeros((2, 6 * SEGMENT), np.float32)
    for separator in (
        Separator(manifest, counted, 0.0, 0.1),
        LowLatencySeparator(manifest, counted, latency_plan(manifest)),
    ):
        stems = np.concatenate([separator.process(audio), separator.flush()], axis=-1)
        assert not runs and stems.shape == (4, 2, audio.shape[1]) and np.abs(stems).max() < 1e-12


# Faults


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -3e4])
def test_faulty_samples_are_zeroed_and_counted(enhancer_bundle, separator_bundle, value):
    enhancer = open_session(enhancer_bundle, "onnx")
    audio = noise(4 * HOP)
    audio[500:503] = value
    clean = audio.copy()
    clean[500:503] = 0
    out = np.concatenate([enhancer.process(audio), enhancer.flush()])
    np.testing.assert_array_equal(out, 0.5 * clean)
    assert enhancer.counts.bad_inputs == 3
    separator = open_session(separator_bundle, "onnx")
    both = noise(2, 3 * SEGMENT)
    both[1, 5000:5007] = value
    stems = np.concatenate([separator.process(both), separator.flush()], axis=-1)
    both[1, 5000:5007] = 0
    np.testing.assert_allclose(stems, GAINS[:, None, None] * both, atol=1e-5)
    assert separator.counts.bad_inputs == 7


def test_loud_but_real_samples_pass(enhancer_bundle):
    session = open_session(enhancer_bundle, "onnx")
    audio = 5000 * np.sign(noise(3 * HOP))
    np.testing.assert_array_equal(np.concatenate([session.process(audio), session.flush()]), 0.5 * audio)
    assert session.counts.bad_inputs == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_the_file_form_is_guarded_too(separator_bundle, value):
    """The stems are those of the recording with zeros in place of its faults."""
    audio = noise(2, 3 * SEGMENT)
    audio[1, 5000:5007] = value
    clean = np.where(np.abs(audio) < 1e4, audio, 0)
    session = Separator(separator_bundle.manifest, load_graph(separator_bundle, "onnx"), 0.0, 0.1)
    stems = np.concatenate([session.process(audio), session.flush()], axis=-1)
    np.testing.assert_allclose(stems, GAINS[:, None, None] * clean, atol=1e-5)
    assert session.counts.bad_inputs == 7 and session.counts.bad_outputs == 0


def test_segments_for_which_the_separator_gives_nan_are_silent(separator_bundle):
    manifest, graph = separator_bundle.manifest, load_graph(separator_bundle, "onnx")
    calls = []

    def broken(arrays):
        calls.append(1)
        stems = graph(arrays)[0]
        stems[0, 1, 0, 7] = np.nan if len(calls) == 3 else stems[0, 1, 0, 7]
        return [stems]

    audio = noise(2, 6 * manifest.hop)
    for session in (
        Separator(manifest, broken, 0.0, 0.1),
        LowLatencySeparator(manifest, broken, latency_plan(manifest)),
    ):
        calls.clear()
        stems = np.concatenate([session.process(audio), session.flush()], axis=-1)
        assert session.counts.bad_outputs == 1 and np.isfinite(stems).all()
        silent = np.abs(stems).max(axis=(0, 1)) < 1e-7
        assert silent.sum() >= manifest.hop // 4  # what no other segment covers
        end = slice(-manifest.hop, None)
        np.testing.assert_allclose(stems[..., end], GAINS[:, None, None] * audio[:, end], atol=1e-5)


def test_a_model_that_gives_nan_recovers(enhancer_bundle):
    """Once poisoned, its state would stay so: the hop is silent and the next starts afresh."""
    calls = []

    def graph(arrays):
        calls.append(1)
        broken = np.float32(np.nan if len(calls) == 3 else 0)
        return [0.5 * arrays[1] + broken, arrays[0] + broken]

    session = EnhancerStream(enhancer_bundle.manifest, graph)
    audio = noise(6 * HOP)
    out = np.concatenate([session.process(audio), session.flush()])
    assert session.counts.bad_outputs == 1 and len(out) == len(audio)
    np.testing.assert_array_equal(out[: 1 * HOP], 0.5 * audio[:HOP])
    assert not out[HOP : 3 * HOP].any()
    np.testing.assert_array_equal(out[3 * HOP :], 0.5 * audio[3 * HOP :])


# Buffers


@pytest.mark.parametrize("backend", BACKENDS)
def test_streams_share_a_graph_and_not_their_state(both_enhancer_path, backend):
    bundle = open_bundle(both_enhancer_path)
    graph = load_graph(bundle, backend)
    one, other = new_session(bundle, graph), new_session(bundle, graph)
    a, b = noise(5 * HOP, seed=1), noise(5 * HOP, seed=2)
    outs: list[list[np.ndarray]] = [[], []]
    for i in range(0, len(a), 100):
        outs[0].append(one.process(a[i : i + 100]))
        outs[1].append(other.process(b[i : i + 100]))
    np.testing.assert_array_equal(np.concatenate([*outs[0], one.flush()]), 0.5 * a)
    np.testing.assert_array_equal(np.concatenate([*outs[1], other.flush()]), 0.5 * b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_process_returned_is_the_callers(both_enhancer_path, backend):
    session = open_session(open_bundle(both_enhancer_path), backend)
    first = session.process(noise(3 * HOP))
    kept = first.copy()
    session.process(-noise(3 * HOP))
    np.testing.assert_array_equal(first, kept)


def test_process_keeps_no_memory(enhancer_bundle):
    session = open_session(enhancer_bundle, "onnx")
    live = Live(open_session(enhancer_bundle, "onnx"))
    audio = noise(HOP)
    for _ in range(50):
        session.process(audio), live.process(audio)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(2000):
        session.process(audio), live.process(audio)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 16_000  # over 2,000 hops of 1,280 bytes: less than a number kept from each


def test_a_graph_that_fails_in_a_stream_is_one_line(separator_bundle, enhancer_bundle):
    graph = load_graph(separator_bundle, "onnx")
    graph._interface = enhancer_bundle.manifest  # another model's buffers
    with pytest.raises(EdgeError, match="failed in onnx"):
        EnhancerStream(enhancer_bundle.manifest, graph).process(noise(HOP))
