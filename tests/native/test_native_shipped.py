"""The native library against the Python sessions with the shipped networks on real speech and a song."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr

import edge
from edge import samples
from edge.backends.executorch import EXECUTORCH
from edge.bundle import open_bundle, snr_db
from edge.errors import InputError
from edge.native import NativeBundle, NativeSession, NativeStream, load_library
from edge.native.session import StreamOptions
from edge.runtime.converted import at_rate
from edge.runtime.graphs import load_graph
from edge.runtime.session import new_session
from edge.runtime.streams import Statistics

try:
    load_library()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SHIPPED = Path(edge.__file__).parent / "bundles"


@pytest.fixture(scope="module", params=["onnx", "executorch"])
def backend(request) -> str:
    if request.param == "executorch":
        built_in, installed = executorch_versions()
        if not built_in or not installed:
            pytest.skip("the library or the workbench is without ExecuTorch")
        if built_in != installed:
            pytest.skip(f"the library has ExecuTorch {built_in}, Python {installed}: other samples (docs/native.md)")
    return request.param


def executorch_versions() -> tuple[str, str]:
    """Of the native library and of Python; empty where there is none."""
    built_in = load_library().c.stemedge_executorch_version().decode()
    return built_in.split("+")[0], "" if EXECUTORCH.missing() else EXECUTORCH.version().split("+")[0]


@pytest.mark.parametrize("name", ["enhancer", "htdemucs-mini"])
def test_any_executorch_passes_the_golden_check(name):
    if not executorch_versions()[0]:
        pytest.skip("the library is without ExecuTorch")
    bundle = open_bundle(SHIPPED / name)
    snr = NativeBundle(bundle.path).check("executorch")
    assert snr >= bundle.manifest.golden.outputs["executorch"].min_snr_db > 20


@pytest.fixture(scope="module")
def enhancer(backend):
    """The bundle, its loaded graph, and the same in the native library."""
    bundle = open_bundle(SHIPPED / "enhancer")
    return bundle, load_graph(bundle, backend), NativeBundle(bundle.path), backend


@pytest.fixture(scope="module")
def separator(backend):
    bundle = open_bundle(SHIPPED / "htdemucs-mini")
    return bundle, load_graph(bundle, backend), NativeBundle(bundle.path), backend


def damaged(audio: np.ndarray, rate: int) -> np.ndarray:
    """float32 (channels, n) with a quarter of a second each of silence, NaN, infinity, antiphase and faint noise."""
    out, quarter = audio.copy(), rate // 4
    parts = [out[:, i * quarter : (i + 1) * quarter] for i in range(1, 10, 2)]
    parts[0][:] = 0
    parts[1][:, ::97] = np.nan
    parts[2][:, ::997] = np.inf
    parts[3][-1] = -parts[3][0]
    parts[4][:] *= 1e-5
    return out


def fed(session, audio: np.ndarray, size: int) -> np.ndarray:
    blocks = [session.process(audio[..., i : i + size]) for i in range(0, audio.shape[-1], size)]
    return np.concatenate([*blocks, session.flush()], axis=-1)


def speech(seconds: float, rate: int = 16000) -> np.ndarray:
    noisy = samples.speech()[0]
    audio = np.tile(noisy, int(np.ceil(seconds * 16000 / len(noisy))))[: int(seconds * 16000)]
    return (audio if rate == 16000 else soxr.resample(audio, 16000, rate)).astype(np.float32)


def both_ways(network, audio: np.ndarray, options: StreamOptions, **python) -> tuple[np.ndarray, np.ndarray]:
    """What the Python session and the native stream make of the audio; both must count alike."""
    bundle, graph, native, backend = network
    session = new_session(bundle, graph, **python)
    session = at_rate(session, options.rate) if options.rate else session
    stream = NativeSession(NativeStream(native, backend, options), session.shape_out, session.hop)
    got = fed(stream, audio, 700)
    expected = fed(session, audio, 4096)
    assert got.shape == expected.shape and vars(stream.counts) == vars(session.counts)
    assert np.abs(expected).max() > 0.01
    return expected, got


def test_enhanced_speech_is_that_of_python_to_the_bit(enhancer):
    audio = damaged(speech(5)[None], 16000)[0]
    expected, got = both_ways(enhancer, audio, StreamOptions())
    np.testing.assert_array_equal(got, expected)


def test_enhanced_speech_at_48_khz(enhancer):
    audio = damaged(speech(5, 48000)[None], 48000)[0]
    expected, got = both_ways(enhancer, audio, StreamOptions(rate=48000))
    assert snr_db(expected, got) > 100


@pytest.mark.slow
@pytest.mark.parametrize("latency", [None, 0.5])
@pytest.mark.parametrize("consistent", [False, True])
def test_a_separated_stream_is_that_of_python_to_the_bit(separator, latency, consistent):
    audio = damaged(samples.song()[0][:, : 6 * samples.RATE], samples.RATE)
    options = StreamOptions(latency=latency or 0.0, consistent=consistent)
    expected, got = both_ways(separator, audio, options, latency=latency, consistent=consistent)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_a_separated_song_is_that_of_python_to_the_bit(separator):
    audio = samples.song()[0][:, : 6 * samples.RATE]
    statistics = Statistics()
    statistics.update(audio.T)
    options = StreamOptions(mean=statistics.mean, deviation=statistics.std)
    expected, got = both_ways(separator, audio, options, statistics=statistics)
    np.testing.assert_array_equal(got, expected)


PEAK = """
import sys
import numpy as np
from edge.native import NativeBundle, NativeStream

def megabytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024

bundle, before = NativeBundle(sys.argv[1]), megabytes("VmRSS")
stream = NativeStream(bundle, "onnx")
noise = np.random.default_rng(0).standard_normal((2, 44100), dtype=np.float32) * np.float32(0.1)
for _ in range(10):
    stream.process(noise)
print(megabytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells its memory in other ways")
def test_a_separator_takes_the_memory_that_onnx_runtime_can_spare():
    """210 MB, with ONNX Runtime's defaults 310."""
    command = [sys.executable, "-c", PEAK, SHIPPED / "htdemucs-mini"]
    peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 50 < peak < 250


@pytest.mark.slow
def test_a_separated_stream_at_48_khz(separator):
    audio = damaged(samples.song(48000)[0][:, : 6 * 48000], 48000)
    expected, got = both_ways(separator, audio, StreamOptions(rate=48000, latency=0.5), latency=0.5)
    assert snr_db(expected, got) > 100
