"""Strength and full band around an enhancer's session: aligned to the sample, the same whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import snr_db
from edge.runtime.channels import mapped
from edge.runtime.graphs import load_graph
from edge.runtime.session import Live, new_session
from edge.runtime.shaping import Shaping, shaped


def session(bundle, rate: int, **shaping):
    return shaped(new_session(bundle, load_graph(bundle, "onnx")), rate, Shaping(**shaping))


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(frames)).astype(np.float32)


def whole(stream, audio: np.ndarray, step: int) -> np.ndarray:
    parts = [stream.process(audio[i : i + step]) for i in range(0, len(audio), step)]
    return np.concatenate([*parts, stream.flush()])


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("full_band", [False, True])
def test_a_limit_of_0_db_is_the_input_itself(enhancer_bundle, rate, full_band):
    audio = noise(rate)
    stream = session(enhancer_bundle, rate, atten_limit=0.0, full_band=full_band)
    np.testing.assert_array_equal(whole(stream, audio, 777), audio)
    live = Live(stream)
    out = np.concatenate([live.process(audio[i : i + 480]) for i in range(0, rate, 480)] + [live.flush()])
    np.testing.assert_array_equal(out[live.latency_samples :], audio)


@pytest.mark.parametrize("limit", [6.0, 12.0])
def test_a_limit_mixes_with_the_aligned_input(enhancer_bundle, limit):
    """The tiny enhancer halves: the mix is exact."""
    audio, dry = noise(16000), np.float32(10 ** (-limit / 20))
    out = whole(session(enhancer_bundle, 16000, atten_limit=limit), audio, 501)
    np.testing.assert_allclose(out, (dry + 0.5 * (1 - dry)) * audio, atol=1e-6)


def test_faults_do_not_come_through_the_mix(enhancer_bundle):
    audio = noise(4000)
    audio[1000], audio[1001] = np.nan, 1e30
    for rate in (16000, 48000):
        assert np.isfinite(whole(session(enhancer_bundle, rate, atten_limit=6.0, full_band=True), audio, 100)).all()


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
def test_the_band_above_has_the_models_gain(enhancer_bundle, rate):
    """The tiny enhancer halves all that it hears, so white noise of any rate is halved as a whole."""
    audio = noise(2 * rate)
    out = whole(session(enhancer_bundle, rate, full_band=True), audio, 1000)
    assert out.shape == audio.shape
    inner = slice(rate // 2, -rate // 2)
    assert snr_db(0.5 * audio[inner], out[inner]) > 55


def test_the_model_band_alone(enhancer_bundle):
    seconds = np.arange(48000) / 48000
    high = (0.1 * np.sin(2 * np.pi * 12000 * seconds)).astype(np.float32)
    out = whole(session(enhancer_bundle, 48000, full_band=False), high, 480)
    assert np.abs(out[5000:-5000]).max() < 1e-4
    assert np.abs(whole(session(enhancer_bundle, 48000, full_band=True), high + noise(48000), 480)[5000:]).max() > 0.05


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1, 6000), step=st.integers(1, 3000), rate=st.sampled_from([16000, 44100, 48000]))
def test_the_same_whatever_the_blocks(enhancer_bundle, frames, step, rate):
    audio = noise(frames)
    stream = session(enhancer_bundle, rate, atten_limit=9.0, full_band=True)
    np.testing.assert_array_equal(whole(stream, audio, step), whole(stream, audio, frames))


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1000, 20000), step=st.integers(1, 3000))
def test_no_sample_is_later_than_the_latency(enhancer_bundle, frames, step):
    stream = session(enhancer_bundle, 48000, full_band=True)
    given_, got = 0, 0
    for start in range(0, frames, step):
        block = noise(min(step, frames - start))
        given_ += len(block)
        got += len(stream.process(block))
        assert got >= given_ - stream.latency_samples


@pytest.mark.parametrize(
    ("channels", "speaker", "left", "right"),
    [(6, 2, 0.7071, 0.7071), (6, 3, 0, 0), (6, 4, 0.7071, 0), (8, 7, 0, 0.7071), (8, 0, 1, 0), (3, 2, 0.7071, 0.7071)],
)
def test_downmix_of_itu_r_bs_775(channels, speaker, left, right):
    block = np.zeros((1, channels), np.float32)
    block[0, speaker] = 1
    np.testing.assert_allclose(mapped(block, 2)[0], [left, right], atol=1e-4)
    np.testing.assert_allclose(mapped(block, 1)[0], [(left + right) / 2], atol=1e-4)
