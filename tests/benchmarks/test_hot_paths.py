"""What every block of audio goes through, timed apart from the networks: `make bench` runs this and compares.

The graphs give zeros or half their input, so the times are those of the pipeline itself.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import HOP, SOURCES, manifest_for

from edge.audio import Resampler
from edge.bundle import Golden, GoldenInput, GoldenOutput, Manifest, TensorSpec, open_bundle, snr_db
from edge.runtime.graphs import load_graph
from edge.runtime.lowlatency import LowLatencySeparator, latency_plan
from edge.runtime.ring import Ring
from edge.runtime.session import Live
from edge.runtime.streams import EnhancerStream, Separator, Statistics

pytestmark = pytest.mark.skipif("not config.getoption('benchmark_only', False)", reason="timed by `make bench` only")

RATE = 44100
STATES = [(1, 64, 32), (1, 16, 8, 32), (1, 256)]


def noise(*shape: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def separator_manifest(seconds: float) -> Manifest:
    golden = Golden(GoldenInput("i.f32", (2, 1)), {"onnx": GoldenOutput("o.f32", (1,), 0.0)})
    return manifest_for("separate", {"onnx": "model.onnx"}, golden, int(seconds * RATE))


def enhancer_manifest() -> Manifest:
    golden = Golden(GoldenInput("i.f32", (HOP,)), {"onnx": GoldenOutput("o.f32", (1,), 0.0)})
    small = manifest_for("enhance", {"onnx": "model.onnx"}, golden)
    states = [TensorSpec(f"state{i}", shape) for i, shape in enumerate(STATES)]
    following = [TensorSpec(f"next_{s.name}", s.shape) for s in states]
    return dataclasses.replace(
        small, states=states, inputs=[small.inputs[0], *states], outputs=[small.outputs[0], *following]
    )


def silent_stems(manifest: Manifest):
    stems = np.zeros(manifest.outputs[0].shape, np.float32)
    return lambda inputs: [stems]


def test_enhancer_session_hop(benchmark):
    """One hop in and out, three states handed on."""
    stream = EnhancerStream(enhancer_manifest(), lambda inputs: [arrays for arrays in inputs])
    audio = noise(HOP)
    out = benchmark(stream.process, audio)
    assert out.shape == (HOP,) and stream.counts.inferences > 0


def test_enhancer_session_hop_in_onnxruntime(benchmark, enhancer_path):
    """The same with the smallest graph there is: what the runtime's call itself costs is in it."""
    bundle = open_bundle(enhancer_path)
    stream = EnhancerStream(bundle.manifest, load_graph(bundle, "onnx"))
    audio = noise(HOP)
    out = benchmark(stream.process, audio)
    assert snr_db(0.5 * audio, out) > 100


def test_live_queue_of_odd_blocks(benchmark):
    """Blocks of 441 samples through the queue that makes the delay constant."""
    live = Live(EnhancerStream(enhancer_manifest(), lambda inputs: [arrays for arrays in inputs]))
    assert benchmark(live.process, noise(441)).shape == (441,)


@pytest.mark.parametrize("segment", [4.0, 7.8])
def test_separator_overlap_add(benchmark, segment):
    """One hop of the apply loop: normalise, window, overlap-add of four stereo stems, shift."""
    manifest = separator_manifest(segment)
    separator = Separator(manifest, silent_stems(manifest))
    mix = noise(2, manifest.hop)
    separator.process(noise(2, manifest.segment))
    assert benchmark(separator.process, mix).shape == (len(SOURCES), 2, manifest.hop)


def test_low_latency_separator_hop(benchmark):
    """One hop at 0.5 s latency: running normalisation, crossfade."""
    manifest = separator_manifest(4.0)
    plan = latency_plan(manifest, 0.5)
    separator = LowLatencySeparator(manifest, silent_stems(manifest), plan)
    mix = noise(2, plan.hop)
    separator.process(noise(2, 4 * plan.hop))
    assert benchmark(separator.process, mix).shape == (len(SOURCES), 2, plan.hop)


@pytest.mark.parametrize("block", [64, 480])
def test_ring_buffer_write_and_read(benchmark, block):
    """A stereo block into the ring of the audio callback and out of it; it wraps around now and then."""
    ring, audio, out = Ring(10_000, 2), noise(block, 2), np.empty((block, 2), np.float32)

    def pass_on() -> int:
        position = ring.end
        ring.write(audio)
        return ring.read(position, out)

    assert benchmark(pass_on) == block and np.array_equal(out, audio)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(48000, 16000), (16000, 48000), (48000, 44100)])
def test_resample_a_second_of_stereo(benchmark, rate_in, rate_out):
    resampler = Resampler(rate_in, rate_out, 2)
    block = noise(rate_in, 2)
    resampler.process(block)
    assert abs(len(benchmark(resampler.process, block)) - rate_out) <= rate_out // 10


def test_track_statistics_of_a_second(benchmark):
    statistics = Statistics()
    benchmark(statistics.update, noise(RATE, 2))
    assert statistics.std == pytest.approx(0.1 / np.sqrt(2), rel=0.05)
