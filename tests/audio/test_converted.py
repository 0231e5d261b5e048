"""Sessions at other rates than the model's: the same length, the same sound, never later than they say."""

import numpy as np
import pytest
from conftest import GAINS
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import snr_db
from edge.runtime.converted import RateConverted, at_rate
from edge.runtime.session import open_session

RATES = [8000, 16000, 22050, 44100, 48000]


def session_of(request, task):
    bundle = request.getfixturevalue("enhancer_bundle" if task == "enhance" else "separator_bundle")
    return open_session(bundle, "onnx", latency=None if task == "enhance" else 0.1)


def tone(rate: int, count: int) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 300 / rate * np.arange(count))).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("task", ["enhance", "separate"])
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_output_never_lags_more_than_is_said(request, task, rate, data):
    session = at_rate(session_of(request, task), rate)
    for _ in range(2):  # flush resets
        fed = given_ = 0
        for size in data.draw(st.lists(st.integers(0, rate // 5), min_size=1, max_size=15)):
            out = session.process(np.full((*session.shape_in, size), 0.1, np.float32))
            fed, given_ = fed + size, given_ + out.shape[-1]
            assert out.shape[:-1] == session.shape_out and 0 <= fed - given_ <= session.latency_samples
        assert given_ + session.flush().shape[-1] == fed


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("task", ["enhance", "separate"])
def test_the_models_sound_at_any_rate_and_in_any_blocks(request, task, rate):
    session = at_rate(session_of(request, task), rate)
    gain = np.float32(0.5) if task == "enhance" else GAINS[:, None, None]
    audio = np.broadcast_to(tone(rate, rate), (*session.shape_in, rate))
    whole = np.concatenate([session.process(audio), session.flush()], axis=-1)
    parts = [session.process(audio[..., at : at + 777]) for at in range(0, rate, 777)]
    np.testing.assert_array_equal(np.concatenate([*parts, session.flush()], axis=-1), whole)
    middle = slice(rate // 4, 3 * rate // 4)
    assert snr_db((gain * audio)[..., middle], whole[..., middle]) > 60


def test_the_models_own_rate_needs_no_conversion(request):
    session = session_of(request, "enhance")
    assert at_rate(session, 16000) is session
    other = at_rate(session, 48000)
    assert isinstance(other, RateConverted) and other.hop == 3 * session.hop and other.counts is session.counts


def test_known_blocks_wait_less(request):
    """Blocks of one size are late by no more than calls of any size can be."""
    session = session_of(request, "enhance")
    known, free = at_rate(session, 48000, block=480), at_rate(session, 48000)
    assert 3 * session.latency_samples < known.latency_samples <= free.latency_samples + 480


class Delayed:
    """A session that does nothing but wait: for its hops, and for its latency."""

    shape_in = shape_out = ()
    counts = None

    def __init__(self, sample_rate: int, hop: int, latency: int):
        self.sample_rate, self.hop, self.latency_samples = sample_rate, hop, latency
        self.reset()

    def reset(self):
        self._taken = self._given = 0

    def process(self, samples):
        self._taken += samples.shape[-1]
        ready = max(0, self._taken // self.hop * self.hop - (self.latency_samples - self.hop))
        out = np.zeros(ready - self._given, np.float32)
        self._given = ready
        return out

    def flush(self):
        out = np.zeros(self._taken - self._given, np.float32)
        self.reset()
        return out


@pytest.mark.parametrize(
    "model_rate, rate", [(44100, 48000), (44100, 22050), (16000, 44100), (16000, 48000), (16000, 32000)]
)
@pytest.mark.parametrize("hop, latency", [(256, 512), (1000, 1500), (4410, 22050), (11025, 11025)])
@pytest.mark.parametrize("block", [None, 441, 480])
def test_no_result_comes_later_than_the_latency_in_the_long_run(model_rate, rate, hop, latency, block):
    session = RateConverted(Delayed(model_rate, hop, latency), rate, block)
    said, rng = session.latency_samples, np.random.default_rng(0)
    fed = given_ = worst = 0
    while fed < 60 * rate:
        size = block or int(rng.integers(1, 900))
        fed += size
        given_ += len(session.process(np.zeros(size, np.float32)))
        worst = max(worst, fed - given_)
    assert worst <= said < worst + 0.12 * rate
