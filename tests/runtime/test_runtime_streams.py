"""The streams against their definitions: demucs' own apply loop, and the offline graph."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import HOP
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import TensorSpec, snr_db
from edge.runtime.graphs import load_graph
from edge.runtime.streams import MONO_SHARE, EnhancerStream, Separator, Statistics

torch = pytest.importorskip("torch")
SOURCES = 3


class Cheap(torch.nn.Module):
    """A cheap stand-in whose output depends on the position in the segment and on neighbouring samples."""

    def __init__(self, segment: int, sample_rate: int = 100):
        super().__init__()
        self.segment = segment / sample_rate
        self.length = segment
        self.samplerate, self.audio_channels = sample_rate, 2
        self.sources = [str(i) for i in range(SOURCES)]
        ramp = torch.linspace(-1, 1, segment)
        self.register_buffer("gain", torch.stack([ramp, ramp.flip(0) ** 2, torch.ones(segment)]))

    def valid_length(self, length: int) -> int:
        return self.length

    def forward(self, mix):
        mixed = mix + 0.5 * mix.roll(1, -1) + 0.25 * mix.roll(-3, -1) + 0.1 * mix.flip(1)
        return torch.tanh(mixed[:, None] * self.gain[:, None])


def chopped(total: int, sizes: list[int]):
    """Slices that cover `total`, their lengths cycling through `sizes`."""
    start, i = 0, 0
    while start < total:
        yield slice(start, start + sizes[i % len(sizes)])
        start, i = start + sizes[i % len(sizes)], i + 1


def manifest_of(segment: int) -> SimpleNamespace:
    return SimpleNamespace(
        sample_rate=100,
        latency_samples=segment,
        segment=segment,
        hop=int(0.75 * segment),
        channels=2,
        sources=list(range(SOURCES)),
        inputs=[TensorSpec("mix", (1, 2, segment))],
        outputs=[TensorSpec("stems", (1, SOURCES, 2, segment))],
    )


@settings(max_examples=150, deadline=None)
@given(
    segment=st.integers(2, 60),
    length=st.integers(1, 400),
    sizes=st.lists(st.integers(1, 130), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_separator_equals_the_apply_loop_of_demucs(segment, length, sizes, seed):
    apply = pytest.importorskip("demucs.apply")
    model = Cheap(segment)
    generator = torch.Generator().manual_seed(seed)
    mix = 0.3 + torch.randn(2, length, generator=generator)

    reference = mix.mean(0)
    mean, std = reference.mean(), torch.tensor(0.0)
    if length > 1:  # where the channels nearly cancel, ours keeps a share of the deviation of both
        of_both = ((mix - mean).square().mean(0).sum() / (length - 1)).sqrt()
        std = torch.maximum(reference.std(), MONO_SHARE * of_both)
    normalised = ((mix - mean) / (std + 1e-8))[None]
    if int(model.samplerate * model.segment) != segment:  # demucs itself truncates the product of floats
        model.segment = (segment + 0.5) / model.samplerate
    expected = apply.apply_model(model, normalised, split=True, overlap=0.25, shifts=0)[0]
    expected = (expected * (std + 1e-8) + mean).numpy()

    statistics = Statistics()
    for part in chopped(length, sizes):
        statistics.update(mix.numpy()[:, part].T)

    def graph(arrays):
        with torch.no_grad():
            return [model(torch.from_numpy(arrays[0].copy())).numpy()]

    separator = Separator(manifest_of(segment), graph, statistics.mean, statistics.std)
    for _ in range(2):  # flush resets: the second time must equal the first
        pieces = [separator.process(mix.numpy()[:, part]) for part in chopped(length, sizes)]
        stems = np.concatenate([*pieces, separator.flush()], axis=2)
        assert stems.shape == expected.shape
        assert snr_db(expected, stems) > 90


def test_statistics_are_those_of_the_whole_track():
    audio = np.random.default_rng(0).standard_normal((10_001, 2)).astype(np.float32) + 3
    statistics = Statistics()
    for part in chopped(len(audio), [1, 999, 64]):
        statistics.update(audio[part])
    mono = audio.mean(axis=1, dtype=np.float64)
    assert statistics.mean == pytest.approx(mono.mean(), rel=1e-9)
    assert statistics.std == pytest.approx(mono.std(ddof=1), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.7])
@pytest.mark.parametrize("length", [1, 2, 1000])
def test_silence_and_constants_give_no_nan(separator_bundle, value, length):
    audio = np.full((2, length), value, np.float32)
    statistics = Statistics()
    statistics.update(audio.T)
    graph = load_graph(separator_bundle, "onnx")
    separator = Separator(separator_bundle.manifest, graph, statistics.mean, statistics.std)
    stems = np.concatenate([separator.process(audio), separator.flush()], axis=2)
    assert stems.shape == (4, 2, length)
    np.testing.assert_allclose(stems, value, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 5 * HOP), sizes=st.lists(st.integers(1, 3 * HOP), min_size=1, max_size=4))
def test_enhancer_is_aligned_and_takes_any_chopping(enhancer_bundle, length, sizes):
    audio = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    stream = EnhancerStream(enhancer_bundle.manifest, load_graph(enhancer_bundle, "onnx"))
    for _ in range(2):
        pieces = [stream.process(audio[part]) for part in chopped(length, sizes)]
        out = np.concatenate([*pieces, stream.flush()])
        np.testing.assert_array_equal(out, 0.5 * audio)  # the graph's delay of one hop is gone


def test_enhancer_reset_equals_a_fresh_stream(enhancer_bundle):
    graph = load_graph(enhancer_bundle, "onnx")
    audio = np.random.default_rng(1).standard_normal(3 * HOP + 7).astype(np.float32)
    used, fresh = (EnhancerStream(enhancer_bundle.manifest, graph) for _ in range(2))
    used.process(audio[::-1].copy())
    used.reset()
    for stream in (used, fresh):
        assert stream.latency_samples == 2 * HOP and stream.sample_rate == 16000
    np.testing.assert_array_equal(used.process(audio), fresh.process(audio))
    np.testing.assert_array_equal(used.flush(), fresh.flush())


def test_enhancer_emits_as_early_as_its_latency_says(enhancer_bundle):
    stream = EnhancerStream(enhancer_bundle.manifest, load_graph(enhancer_bundle, "onnx"))
    audio = np.zeros(10 * HOP, np.float32)
    ready = 0
    for fed in range(1, len(audio) + 1):
        ready += len(stream.process(audio[fed - 1 : fed]))
        assert ready > fed - stream.latency_samples - 1
