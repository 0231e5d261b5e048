"""Mixing in batches: what was asked for is what is mixed, whatever the device and the size of the batch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from edge.errors import InputError
from edge.training import shards
from edge.training.corpus import Corpus
from edge.training.speech_mixing import (
    RATE,
    Mixture,
    Random,
    SpeechBatches,
    convolve,
    narrow_band,
    synthetic_noise,
    vary,
)

PLAIN = Mixture(varied=0, rooms=0, babble=0, synthetic=0, two_noises=0, no_noise=0, narrow=0, clipped=0, silenced=0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two voices, one long and one of half a second, and a noise of a second; all are tones that tell them apart."""
    folder, items = tmp_path_factory.mktemp("speech"), []
    for kind, group, hertz, seconds, weight in (
        ("speech", "long", 440, 6.0, 1.0),
        ("speech", "short", 1000, 0.5, 0.25),
        ("noise", "hum", 100, 1.0, 1.0),
    ):
        audio = 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)
        file = shards.write_shard(folder, f"{kind}-{group}", audio)
        items.append(shards.Item(file, kind, "train", group, "test", "1", "none", seconds, weight))
    shards.write_manifest(folder, "speech", RATE, items)
    return folder


def db(power: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(power)


def test_items_are_drawn_by_the_root_of_their_length_times_their_weight(data):
    corpus = Corpus(data, "speech", "train")
    crops = corpus.crops(4000, 800, torch.Generator().manual_seed(0))
    of_short = (torch.fft.rfft(crops).abs().argmax(1) * RATE / 800 > 700).float().mean()
    expected = 0.25 * math.sqrt(0.5) / (0.25 * math.sqrt(0.5) + math.sqrt(6))
    assert of_short == pytest.approx(expected, abs=0.02)
    with pytest.raises(InputError, match="no speech for test"):
        Corpus(data, "speech", "test")


def test_a_short_item_repeats_and_a_long_one_is_cut_whole(data):
    corpus = Corpus(data, "noise", "train")
    crops = corpus.crops(50, 3 * RATE, torch.Generator().manual_seed(1))
    torch.testing.assert_close(crops[:, :RATE], crops[:, RATE : 2 * RATE])
    assert len({round(x, 4) for x in crops[:, 0].tolist()}) > 10  # starts anywhere


def test_the_snr_and_the_level_are_those_of_the_ranges(data):
    mixture = replace(PLAIN, snr_db=(7.0, 7.0), level_db=(-40.0, -40.0))
    noisy, clean = SpeechBatches(data, "train", 8000, None, mixture=mixture).draw(16, 5)
    torch.testing.assert_close(
        db(clean.square().mean(1) / (noisy - clean).square().mean(1)), torch.full((16,), 7.0), atol=0.05, rtol=0
    )
    torch.testing.assert_close(db(noisy.square().mean(1)), torch.full((16,), -40.0), atol=0.05, rtol=0)


def test_batches_are_finite_in_range_and_repeat_with_their_seed(data):
    bank = torch.zeros(3, 2, 400, dtype=torch.float16)
    bank[:, :, 0], bank[:, 0, 300] = 1, 0.5
    mixer = SpeechBatches(data, "train", 8000, bank)
    for seed in range(12):
        noisy, clean = mixer.draw(6, seed)
        assert noisy.shape == clean.shape == (6, 8000) and noisy.dtype == torch.float32
        assert torch.isfinite(noisy).all() and clean.abs().max() <= 1
        again = mixer.draw(6, seed)
        assert torch.equal(noisy, again[0]) and torch.equal(clean, again[1])
    assert not torch.equal(mixer.draw(6, 0)[0], mixer.draw(6, 1)[0])


def test_in_a_room_the_target_is_the_direct_path(data):
    bank = torch.zeros(1, 2, 800)
    bank[0, :, 0], bank[0, 0, 500] = 1, 0.5
    mixture = replace(PLAIN, rooms=1.0, no_noise=1.0, noise_in_room=0)
    noisy, clean = SpeechBatches(data, "train", 4000, bank, mixture=mixture).draw(4, 0)
    echo = noisy[:, 500:] - clean[:, 500:]
    expected = 0.5 * clean[:, :-500]
    assert (echo - expected).square().mean() < 1e-3 * expected.square().mean()


def test_silence_ends_both_sides_and_clipping_only_the_noisy_one(data):
    noisy, clean = SpeechBatches(data, "train", 8000, None, mixture=replace(PLAIN, silenced=1.0)).draw(8, 3)
    last = [int(x.abs().gt(1e-7).nonzero()[-1]) for x in clean]
    assert len(set(last)) > 4 and all(torch.count_nonzero(n[e + 2 :]) == 0 for n, e in zip(noisy, last, strict=True))
    plain = SpeechBatches(data, "train", 8000, None, mixture=PLAIN).draw(8, 3)
    clipped = SpeechBatches(data, "train", 8000, None, mixture=replace(PLAIN, clipped=1.0)).draw(8, 3)
    assert torch.equal(plain[1], clipped[1])
    ratio = clipped[0].abs().amax(1) / plain[0].abs().amax(1)
    assert (ratio > 0.24).all() and (ratio < 0.71).all()
    at_limit = clipped[0].abs() >= clipped[0].abs().amax(1, keepdim=True)
    assert torch.equal(clipped[0][~at_limit], plain[0][~at_limit])


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(0, 4), samples=st.integers(1, 700), taps=st.integers(1, 300), seed=st.integers(0, 99))
def test_convolution_is_scipys(rows, samples, taps, seed):
    generator = torch.Generator().manual_seed(seed)
    audio, responses = (torch.randn(rows, *shape, generator=generator) for shape in ((samples,), (2, taps)))
    for k, ours in enumerate(convolve(audio, responses)):
        for row in range(rows):
            expected = fftconvolve(audio[row].numpy(), responses[row, k].numpy())[:samples]
            np.testing.assert_allclose(ours[row].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_a_faster_voice_is_higher_and_as_loud(speed):
    length, samples = 24000, 12000
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(length) / RATE).expand(4, -1)
    faster = vary(tone, samples, (speed, speed), Random(CPU, 0), 1.0)
    assert faster.shape == (4, samples)
    peak = torch.fft.rfft(faster * torch.hann_window(samples)).abs().argmax(1) * RATE / samples
    assert torch.allclose(peak, torch.full((4,), 1000.0 * speed), rtol=0.03)  # to the next length of a fast FFT
    untouched = vary(tone, samples, (speed, speed), Random(CPU, 0), 0.0)
    torch.testing.assert_close(untouched, tone[:, :samples], atol=1e-4, rtol=0)


def test_a_narrow_band_loses_the_top_and_keeps_what_is_below():
    audio = torch.randn(60, 9600, generator=torch.Generator().manual_seed(0)) * 0.1
    out = narrow_band(audio, Random(CPU, 2))
    assert out.shape == audio.shape and torch.isfinite(out).all()
    before, after = (torch.fft.rfft(x).abs().square() for x in (audio, out))
    below, above = slice(300, 1500), slice(4500, None)  # 500 to 2500 Hz, 7.5 kHz and above
    assert (after[:, above].sum(1) < 0.5 * before[:, above].sum(1)).all()
    ratio = after[:, below].sum(1) / before[:, below].sum(1)
    assert (ratio > 0.7).all() and (ratio < 1.2).all()


def test_synthetic_noise_is_noise():
    out = synthetic_noise(20, 16000, Random(CPU, 0))
    assert out.shape == (20, 16000) and torch.isfinite(out).all() and (out.square().mean(1) > 0.1).all()
    assert (torch.corrcoef(out) - torch.eye(20)).abs().max() < 0.5
