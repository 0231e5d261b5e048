"""The native library against the Python reader and sessions on the same runtime: equal to the bit.

$EDGE_NATIVE_BUNDLES (separated by colons) adds real bundles to the tiny ones.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bundle import open_bundle, snr_db
from edge.cli.run import main
from edge.errors import EdgeError, InputError
from edge.native import NativeBundle, NativeGraph, NativeSession, NativeStream, load_library
from edge.native.library import Options
from edge.native.session import StreamOptions
from edge.runtime.converted import at_rate
from edge.runtime.graphs import load_graph
from edge.runtime.lowdelay import HALF, LowDelayResampler
from edge.runtime.session import Live, new_session
from edge.runtime.streams import Statistics

try:
    load_library()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SLOWLY = settings(
    deadline=None, max_examples=int(os.environ.get("EDGE_EXAMPLES", 40)), suppress_health_check=list(HealthCheck)
)
REAL = [Path(path) for path in os.environ.get("EDGE_NATIVE_BUNDLES", "").split(":") if path]


@pytest.fixture(scope="module", params=["tiny-enhance", "tiny-separate", *REAL], ids=str)
def path(request, tmp_path_factory) -> Path:
    if isinstance(request.param, Path):
        return request.param
    return make_bundle(tmp_path_factory.mktemp("native") / "tiny", request.param.removeprefix("tiny-"))


@pytest.fixture(scope="module")
def both(path):
    """The bundle, its loaded graph, and the same in the native library."""
    bundle = open_bundle(path)
    return bundle, load_graph(bundle, "onnx"), NativeBundle(path)


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory) -> NativeBundle:
    return NativeBundle(make_bundle(tmp_path_factory.mktemp("native") / "tiny", "enhance"))


PIECES = st.lists(
    st.tuples(
        st.sampled_from(["loud", "quiet", "faint", "zero", "denormal", "nan", "inf", "absurd", "antiphase", "clipped"]),
        st.floats(0.05, 2.5),  # in hops
    ),
    min_size=1,
    max_size=10,
)
SIZES = st.lists(st.one_of(st.integers(0, 9), st.integers(0, 3000)), min_size=1, max_size=6).filter(any)


def signal(pieces, hop: int, channels: int, seed: int) -> np.ndarray:
    """float32 (channels, n) of all that a stream may meet."""
    random = np.random.default_rng(seed)
    parts = []
    for kind, hops in pieces:
        noise = random.standard_normal((channels, max(1, int(hops * hop)))).astype(np.float32)
        level = dict(quiet=0.01, faint=2e-5, zero=0, denormal=1e-40, absurd=1e6, clipped=3).get(kind, 0.2)
        part = (noise * np.float32(level)).astype(np.float32)
        if kind in ("nan", "inf"):
            part[:, :: max(1, part.shape[1] // 3)] = np.nan if kind == "nan" else -np.inf
        if kind == "antiphase" and channels > 1:
            part[1] = -part[0]
        parts.append(part)
    return np.concatenate(parts, axis=1)


def fed(stream, audio: np.ndarray, sizes: list[int]) -> np.ndarray:
    """The audio through a stream in blocks whose sizes repeat, and the flush."""
    out, start, turn = [], 0, 0
    while start < audio.shape[-1]:
        size = sizes[turn % len(sizes)]
        out.append(stream.process(audio[..., start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*out, stream.flush()], axis=-1)


def heard(samples: np.ndarray) -> np.ndarray:
    """Without denormal numbers, which the native library takes for zero."""
    return np.where(np.abs(samples) < np.finfo(np.float32).tiny, np.float32(0), samples)


def planes(native: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return native.reshape(*shape, -1)


@SLOWLY
@given(pieces=PIECES, sizes=SIZES, seed=st.integers(0, 99), again=st.booleans())
def test_streams_equal_the_python_sessions(both, pieces, sizes, seed, again):
    """Any audio, any chopping, live: the same samples, zeros of the latency first; and again after a flush."""
    bundle, graph, native = both
    session = new_session(bundle, graph)
    audio = signal(pieces, session.hop, max(1, bundle.manifest.channels), seed)
    stream, live = NativeStream(native, "onnx"), Live(session)
    assert stream.latency_samples == live.latency_samples
    for _ in range(1 + again):
        got = fed(stream, audio, sizes)
        expected = fed(live, audio if session.shape_in else audio[0], [live.latency_samples])
        np.testing.assert_array_equal(heard(planes(got, session.shape_out)), heard(expected))
    counters = stream.counters()
    assert {name: getattr(counters, name) for name in vars(session.counts)} == vars(session.counts)


@SLOWLY
@given(
    pieces=PIECES, sizes=SIZES, seed=st.integers(0, 99), rate=st.sampled_from([8000, 11025, 44100, 48000, 96000, 22051])
)
def test_any_rate_equals_the_python_session_at_that_rate(both, pieces, sizes, seed, rate):
    bundle, graph, native = both
    session = at_rate(new_session(bundle, graph), rate)
    audio = signal(pieces, session.hop, max(1, bundle.manifest.channels), seed)
    stream = NativeStream(native, "onnx", StreamOptions(rate=rate))
    got = fed(NativeSession(stream, session.shape_out, session.hop), audio, sizes)
    expected = fed(session, audio if session.shape_in else audio[0], [4096])
    assert got.shape == expected.shape
    assert snr_db(expected, got) > 100 or np.abs(expected - got).max() < 1e-6


@SLOWLY
@given(
    pieces=PIECES, sizes=SIZES, seed=st.integers(0, 99), rate=st.sampled_from([8000, 11025, 44100, 48000, 96000, 22051])
)
def test_short_filters_are_those_of_python_to_the_bit(both, pieces, sizes, seed, rate):
    bundle, graph, native = both
    inner = new_session(bundle, graph)
    session = at_rate(inner, rate, converter=LowDelayResampler)
    audio = signal(pieces, session.hop, max(1, bundle.manifest.channels), seed)
    stream = NativeStream(native, "onnx", StreamOptions(rate=rate, low_delay=True))
    model, lower = inner.latency_samples / inner.sample_rate, min(rate, inner.sample_rate)
    assert model <= stream.latency_samples / rate < model + 2 * (HALF + 2) / lower + 2 / rate
    got = fed(NativeSession(stream, session.shape_out, session.hop), audio, sizes)
    expected = fed(session, audio if session.shape_in else audio[0], [4096])
    np.testing.assert_array_equal(heard(got), heard(expected))


@pytest.mark.parametrize("low_delay", [False, True])
@pytest.mark.parametrize("rate", [8000, 22051, 44100, 48000])
def test_no_result_comes_later_than_the_latency(both, rate, low_delay):
    """Hops and the converters' blocks drift: their longest waits meet after seconds only, and the stream says so."""
    stream = NativeStream(both[2], "onnx", StreamOptions(rate=rate, low_delay=low_delay))
    block = np.zeros((stream.inputs, 701), np.float32)
    for _ in range(60 * rate // 701):
        stream.process(block)


@SLOWLY
@given(pieces=PIECES, sizes=SIZES, seed=st.integers(0, 99), latency=st.floats(0.1, 1), consistent=st.booleans())
def test_low_latency_separation(both, pieces, sizes, seed, latency, consistent):
    bundle, graph, native = both
    m = bundle.manifest
    if m.task == "enhance":
        with pytest.raises(InputError, match="latency"):
            NativeStream(native, "onnx", StreamOptions(latency=latency))
        return
    seconds = 0.1 + (m.segment / m.sample_rate - 0.1) * (latency - 0.1) / 0.9
    session = new_session(bundle, graph, seconds, consistent=consistent)
    audio = signal(pieces, session.hop, m.channels, seed)
    stream = NativeStream(native, "onnx", StreamOptions(latency=seconds, consistent=consistent))
    got = fed(NativeSession(stream, session.shape_out, session.hop), audio, sizes)
    np.testing.assert_array_equal(heard(got), heard(fed(session, audio, [1000])))


@SLOWLY
@given(pieces=PIECES, sizes=SIZES, seed=st.integers(0, 99), consistent=st.booleans())
def test_separation_of_a_whole_recording(both, pieces, sizes, seed, consistent):
    bundle, graph, native = both
    m = bundle.manifest
    if m.task == "enhance":
        return
    audio = signal([p for p in pieces if p[0] not in ("nan", "inf")] or [("loud", 1)], m.hop, m.channels, seed)
    statistics = Statistics()
    statistics.update(audio.T)
    session = new_session(bundle, graph, statistics=statistics, consistent=consistent)
    options = StreamOptions(mean=statistics.mean, deviation=statistics.std, consistent=consistent)
    got = fed(NativeSession(NativeStream(native, "onnx", options), session.shape_out, session.hop), audio, sizes)
    np.testing.assert_array_equal(heard(got), heard(fed(session, audio, [1000])))


@SLOWLY
@given(sizes=SIZES, seed=st.integers(0, 99), rate=st.sampled_from([0, 48000]))
def test_the_worker_gives_the_same_two_hops_later(both, sizes, seed, rate):
    bundle, _, native = both
    m = bundle.manifest
    audio = signal([("loud", 3), ("zero", 2), ("quiet", 2.3)], m.hop, m.channels, seed)
    inline = NativeStream(native, "onnx", StreamOptions(rate=rate))
    worker = NativeStream(native, "onnx", StreamOptions(rate=rate, worker=True))
    worker.set_offline(True)
    later = worker.latency_samples - inline.latency_samples
    for _ in range(2):
        expected = fed(inline, audio, sizes)
        got = fed(worker, audio, sizes)
        assert later > 0 and not got[:, :later].any()
        np.testing.assert_array_equal(got[:, later:], expected)
    assert worker.counters().late_blocks == 0


def test_late_results_are_replaced_by_the_input_and_shift_nothing(both):
    """Fed faster than the model runs: what comes out is always the result or the input of the same moment."""
    bundle, _, native = both
    m = bundle.manifest
    audio = np.full((m.channels, 200 * m.hop if m.task == "enhance" else 6 * m.segment), 0.25, np.float32)
    stream = NativeStream(native, "onnx", StreamOptions(worker=True))
    got = np.concatenate([stream.process(audio[:, i : i + 333]) for i in range(0, audio.shape[1], 333)], axis=1)
    assert np.isfinite(got).all()
    late = stream.counters().late_frames
    stream.set_offline(True)
    rest = fed(stream, audio, [512])  # catches up, and what is late is not played
    assert late == 0 or stream.counters().late_frames == late
    reference = NativeStream(native, "onnx", StreamOptions(worker=True))
    reference.set_offline(True)
    whole = fed(reference, np.concatenate([audio, audio], axis=1), [512])
    settled = audio.shape[1] + 8 * m.hop + stream.latency_samples
    joined = np.concatenate([got, rest], axis=1)
    assert joined.shape == whole.shape
    assert snr_db(whole[:, settled:], joined[:, settled:]) > 60


def test_a_stream_that_was_far_behind_catches_up(both):
    """A minute at once is more than the rings hold: what is lost is silence to the model, and nothing shifts."""
    bundle, _, native = both
    m = bundle.manifest
    behind, fresh = (NativeStream(native, "onnx", StreamOptions(worker=True)) for _ in range(2))
    behind.process(np.full((m.channels, 60 * m.sample_rate), 0.25, np.float32))
    assert behind.counters().late_frames > 0
    audio = signal([("loud", 12)], behind.latency_samples, m.channels, 0)
    for stream in (behind, fresh):
        stream.set_offline(True)
    got, expected = fed(behind, audio, [512]), fed(fresh, audio, [512])
    settled = 3 * behind.latency_samples
    assert snr_db(expected[:, settled:], got[:, settled:]) > 60


@SLOWLY
@given(pieces=PIECES, sizes=SIZES, limit=st.floats(0, 60), seed=st.integers(0, 99))
def test_attenuation_limit_mixes_the_aligned_input_in(enhancer, pieces, sizes, limit, seed):
    audio = signal([p for p in pieces if p[0] in ("loud", "quiet", "zero")] or [("loud", 2)], 320, 1, seed)
    plain = NativeStream(enhancer, "onnx")
    wet = fed(plain, audio, sizes)
    dry = np.concatenate([np.zeros((1, plain.latency_samples), np.float32), audio], axis=1)
    untouched = NativeStream(enhancer, "onnx", StreamOptions(attenuation=0.0))
    np.testing.assert_array_equal(fed(untouched, audio, sizes), dry)
    got = fed(NativeStream(enhancer, "onnx", StreamOptions(attenuation=limit)), audio, sizes)
    share = 10 ** (-limit / 20)
    np.testing.assert_allclose(got, share * dry + (1 - share) * wet, atol=2e-7)


def test_attenuation_limit_moves_without_a_step(enhancer):
    stream = NativeStream(enhancer, "onnx")
    audio = np.full((1, 16000), 0.5, np.float32)
    stream.process(audio)
    stream.set_attenuation_limit(0)
    out = stream.process(audio)[0]
    assert np.abs(np.diff(out)).max() < 0.5 / 100
    assert out[400] == 0.5


def test_golden_check(path):
    assert NativeBundle(path).check("onnx") > 60


def test_mono_and_more_channels_than_the_model_has(both):
    bundle, _, native = both
    m = bundle.manifest
    if m.task == "enhance":
        left, right = signal([("loud", 3)], m.hop, 2, 0)
        pair = fed(NativeStream(native, "onnx", StreamOptions(channels=2)), np.stack([left, right]), [100])
        alone = [fed(NativeStream(native, "onnx"), one[None], [100])[0] for one in (left, right)]
        np.testing.assert_array_equal(pair, alone)
        return
    audio = signal([("loud", 1.5)], m.segment, 3, 0)
    three = fed(NativeStream(native, "onnx", StreamOptions(channels=3)), audio, [999])
    np.testing.assert_array_equal(three, fed(NativeStream(native, "onnx"), audio[:2], [999]))
    mono = fed(NativeStream(native, "onnx", StreamOptions(channels=1)), audio[:1], [999])
    np.testing.assert_array_equal(mono, fed(NativeStream(native, "onnx"), audio[[0, 0]], [999]))


@pytest.mark.parametrize(
    "options",
    [
        dict(threads=0),
        dict(rate=10),
        dict(rate=-1),
        dict(channels=65),
        dict(channels=-2),
        dict(latency=-1.0),
        dict(latency=float("nan")),
        dict(attenuation=-1.0),
        dict(attenuation=float("nan")),
        dict(mean=0.0),
        dict(mean=float("inf"), deviation=1.0),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(both, options):
    with pytest.raises(InputError):
        NativeStream(both[2], "onnx", StreamOptions(**options))


def test_a_closed_stream_says_so(enhancer):
    stream = NativeStream(enhancer, "onnx")
    stream.close()
    with pytest.raises(EdgeError, match="nothing that is open"):
        stream.process(np.zeros((1, 4), np.float32))
    stream._close.detach()


def test_edge_run_takes_the_native_engine(path, tmp_path):
    noise = np.random.default_rng(0).standard_normal((30_000, 2)) * 0.1
    soundfile.write(tmp_path / "in.wav", noise, 44100, "FLOAT")
    source = [] if open_bundle(path).manifest.task == "enhance" else ["--source", open_bundle(path).manifest.sources[0]]
    for engine in ("python", "native"):
        out = ["-o", str(tmp_path / f"{engine}.wav"), "--engine", engine, *source]
        assert main([str(path), str(tmp_path / "in.wav"), *out]) == 0
    python, native = (soundfile.read(tmp_path / f"{engine}.wav")[0] for engine in ("python", "native"))
    np.testing.assert_array_equal(native, python)
    assert np.abs(native).max() > 0.01
    assert main([str(path), "--live", "--engine", "native"]) == 2


def test_faults_are_counted_through_a_conversion_of_the_rate(both):
    bundle, _, _ = both
    graph = NativeGraph(bundle.path, "onnx")
    session = at_rate(graph.new_session(), 8000)
    session.process(np.full((*session.shape_in, 40_000), 1e6, np.float32))
    assert session.counts.bad_inputs > 0 and session.counts.hops > 0


def outcome(open_it) -> str | None:
    """None where it opens, the message otherwise."""
    try:
        open_it()
    except InputError as error:
        return str(error)
    return None


def places(value, at=()):
    """The places of all values in JSON data."""
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*at, key))


JUNK = st.sampled_from(
    [None, True, 0, -1, 1, 2, 1.5, 1 << 40, "", "x", "../x", "/etc/passwd", "a/b", "float32", [], [1], [0], {}]
)


@SLOWLY
@given(data=st.data())
def test_manifests_are_accepted_and_refused_as_in_python(path, tmp_path_factory, data):
    """One value of the manifest is another one, or missing, or a key more is there."""
    folder = tmp_path_factory.mktemp("changed") / "bundle"
    shutil.copytree(path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    changed = copy.deepcopy(manifest)
    *way, last = data.draw(st.sampled_from([p for p in places(manifest) if p]))
    holder = changed
    for key in way:
        holder = holder[key]
    action = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "replace":
        holder[last] = data.draw(JUNK)
    elif action == "remove":
        del holder[last]
    elif isinstance(holder, dict):
        holder["unheard_of"] = data.draw(JUNK)
    (folder / "manifest.json").write_text(json.dumps(changed))
    python, native = outcome(lambda: open_bundle(folder)), outcome(lambda: NativeBundle(folder))
    stricter = native is not None and re.search(STRICTER, native)
    assert (python is None) == (native is None) or stricter, (python, native)


# What the native reader refuses before it reserves memory, and Python only when the graph runs.
STRICTER = "absurdly large|out of range|audio must be float32|changes its dtype"


def zipped(folder: Path, target: Path, names: dict[str, str] | None = None, **options) -> Path:
    with zipfile.ZipFile(target, "w", **options) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                archive.write(file, (names or {}).get(name, name))
    return target


def test_zips_open_as_folders_do(path, tmp_path):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        edge = zipped(path, tmp_path / f"{compression}.edge", compression=compression)
        assert NativeBundle(edge).text("manifest") == (path / "manifest.json").read_text()
        assert NativeBundle(edge).check("onnx") > 60


def test_damaged_bundles_are_refused(path, tmp_path):
    def refused(target: Path, words: str):
        message = outcome(lambda: NativeBundle(target))
        assert message is not None and words in message and outcome(lambda: open_bundle(target)) is not None, message

    folder = tmp_path / "folder"
    shutil.copytree(path, folder)
    graph = folder / open_bundle(path).manifest.graphs["onnx"].file
    content = graph.read_bytes()
    graph.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(folder, "SHA-256")
    refused(zipped(folder, tmp_path / "sha.edge"), "SHA-256")
    graph.write_bytes(content + b"!")
    refused(folder, "bytes that the manifest lists")
    graph.write_bytes(content[:-1])
    refused(folder, "bytes that the manifest lists")
    graph.unlink()
    refused(folder, "missing")
    refused(zipped(folder, tmp_path / "missing.edge"), "missing")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no manifest.json")
    refused(tmp_path / "nowhere", "no such bundle")
    for name, junk in [("zero.edge", b""), ("text.edge", b"hello" * 100), ("pk.edge", b"PK\3\4" + bytes(100))]:
        (tmp_path / name).write_bytes(junk)
        refused(tmp_path / name, "not a bundle")
    whole = zipped(path, tmp_path / "whole.edge").read_bytes()
    for cut in (len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.edge").write_bytes(whole[:cut])
        assert outcome(lambda: NativeBundle(tmp_path / "cut.edge")) is not None
    manifest = json.loads((path / "manifest.json").read_text())
    for version, words in [("2.0", "2.0"), ("1", "no valid"), (1, "no valid"), ("1.x", "no valid")]:
        shutil.rmtree(folder)
        shutil.copytree(path, folder)
        (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": version}))
        refused(folder, words)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": "1.7", "later": 1}))
    assert "later" in NativeBundle(folder).text("warning")
    for text in ("", "[]", "{", '{"format_version": NaN}', "[" * 100_000, "\ufeff{}"):
        (folder / "manifest.json").write_text(text)
        refused(folder, "manifest.json")


def test_the_options_of_python_are_those_of_c():
    """The library writes every byte of a struct declared twice, and the defaults lie where Python reads them."""
    options = Options.from_buffer_copy(b"\xff" * ctypes.sizeof(Options))
    load_library().call("options_init", ctypes.byref(options), ctypes.sizeof(options))
    values = {name: getattr(options, name) for name, _ in Options._fields_}
    assert np.isnan([values.pop("mean"), values.pop("deviation")]).all()
    assert values.pop("struct_size") == ctypes.sizeof(Options)
    assert values.pop("threads") == 1 and values.pop("attenuation_limit") == float("inf")
    assert set(values.values()) == {0}
