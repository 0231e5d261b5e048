"""The stream of a call: constant latency, any rate and frame size, a switch and a bound that fade; short filters."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import samples
from edge.bundle import snr_db
from edge.calls.stream import CallModel, CallStream
from edge.errors import InputError
from edge.runtime.lowdelay import LowDelayResampler

RATE = 48_000


@pytest.fixture(scope="module")
def model(enhancer_path) -> CallModel:
    return CallModel(enhancer_path)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Stereo at 48 kHz of what lies below the edges of all filters, (n, 2)."""
    mono = soxr.resample(soxr.resample(samples.speech()[0][:32_000], 16_000, 12_000), 12_000, RATE)
    return np.stack([mono, 0.3 * mono[::-1]], axis=1).astype(np.float32)


def in_frames(stream: CallStream, audio: np.ndarray, sizes: list[int]) -> np.ndarray:
    pieces, at, n = [], 0, 0
    while at < len(audio):
        block = audio[at : at + sizes[n % len(sizes)]]
        pieces.append(stream.process(block))
        assert pieces[-1].shape == block.shape
        at, n = at + len(block), n + 1
    return np.concatenate(pieces)


@settings(max_examples=8, deadline=None)
@given(
    rate=st.sampled_from([8000, 16_000, 22_050, 44_100, 48_000]),
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=4).filter(any),
)
def test_the_latency_is_the_same_for_all_frames(model, speech, rate, sizes):
    audio = speech[:20_000]
    whole = CallStream(model, rate, 2).process(audio)
    stream = CallStream(model, rate, 2)
    np.testing.assert_allclose(in_frames(stream, audio, sizes), whole, atol=1e-5)
    late = stream.latency_samples
    assert not whole[: late // 2].any()
    # the tiny model halves, and the model's band is what the speech has at 48 kHz
    if rate == RATE:
        assert stream.latency < 0.06
        assert snr_db(0.5 * audio[:-late], whole[late:]) > 40


def test_the_switch_and_the_bound_fade(model, speech):
    stream = CallStream(model, RATE, 2)
    late = stream.latency_samples
    sine = np.sin(2 * np.pi * 400 / RATE * np.arange(3 * RATE))[:, None].astype(np.float32) * [0.5, 0.25]
    first = stream.process(sine[:RATE].astype(np.float32))
    stream.enabled = False
    second = stream.process(sine[RATE : 2 * RATE].astype(np.float32))
    stream.enabled, stream.limit = True, 12.0
    third = stream.process(sine[2 * RATE :].astype(np.float32))
    out = np.concatenate([first, second, third])
    dry = sine[RATE + RATE // 10 - late : 2 * RATE - late].astype(np.float32)
    np.testing.assert_array_equal(second[RATE // 10 :], dry)
    keep = 10 ** (-12 / 20)
    expected = (keep + (1 - keep) / 2) * sine[2 * RATE + RATE // 10 - late : 3 * RATE - late]
    assert snr_db(expected, third[RATE // 10 :]) > 40
    assert np.abs(np.diff(out[late + 500 :], axis=0)).max() < 1.2 * np.abs(np.diff(sine, axis=0)).max()  # no click


def test_pcm_is_rounded_and_clipped(model):
    stream = CallStream(model, 16_000)
    stream.enabled = False
    loud = np.full((4000, 1), -32768, np.int16)
    stream.process_pcm(loud)
    assert (stream.process_pcm(loud) == -32768).all() and stream.process_pcm(loud[:0]).shape == (0, 1)


def test_calls_share_one_model(model, speech):
    expected = CallStream(model, RATE, 2).process(speech)
    streams = [CallStream(model, RATE, 2) for _ in range(8)]
    for found in model.pool.map(lambda stream: in_frames(stream, speech, [960]), streams):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_separator_is_refused(separator_path):
    with pytest.raises(InputError, match="needs an enhancer"):
        CallModel(separator_path)


@pytest.mark.parametrize(
    "rates", [(48_000, 16_000), (16_000, 48_000), (44_100, 16_000), (11_025, 16_000), (44_056, 16_000)]
)
def test_the_short_filter_is_that_of_soxr_but_for_its_delay(rates):
    """On audio that the filter's edge does not touch; in odd blocks."""
    low = soxr.resample(soxr.resample(samples.speech()[0][:32_000], 16_000, 8000), 8000, rates[0]).astype(np.float32)
    audio = np.stack([low, -0.5 * low], axis=1)
    resampler = LowDelayResampler(*rates, 2)
    pieces, given_in = [], 0
    for at in range(0, len(audio), 777):
        pieces.append(resampler.process(audio[at : at + 777]))
        given_in += len(audio[at : at + 777])
        behind = given_in / rates[0] - sum(map(len, pieces)) / rates[1]
        assert behind <= resampler.delay + 2 / min(rates)
    pieces.append(resampler.flush())
    found = np.concatenate(pieces)
    expected = soxr.resample(audio, *rates)
    assert abs(len(found) - len(expected)) <= 1
    assert snr_db(expected[: len(found)], found[: len(expected)]) > 70


def test_the_short_filter_keeps_aliases_out():
    tone = np.sin(2 * np.pi * 9000 / 48_000 * np.arange(48_000)).astype(np.float32)[:, None]
    resampler = LowDelayResampler(48_000, 16_000, 1)
    out = np.concatenate([resampler.process(tone), resampler.flush()])[200:-200]
    assert np.abs(out).max() < 10 ** (-60 / 20)
