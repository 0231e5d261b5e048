"""Metrics against independent references and against what is known of made signals."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import samples
from edge.benchmarks.quality import metrics
from edge.metrics import log_spectral_distance


def test_sdr_and_si_sdr_equal_fast_bss_eval():
    reference_package = pytest.importorskip("fast_bss_eval")
    rng = np.random.default_rng(0)
    stem = rng.standard_normal((2, 6000))
    estimate = 0.7 * stem + 0.3 * rng.standard_normal((2, 6000))
    scores = metrics.stem_scores(stem, estimate, 1000)
    expected = reference_package.si_sdr(stem.reshape(1, -1), estimate.reshape(1, -1), zero_mean=True)
    assert scores["si_sdr"] == pytest.approx(float(expected[0]), abs=1e-6)
    assert scores["sdr"] == pytest.approx(-20 * np.log10(np.linalg.norm(stem - estimate) / np.linalg.norm(stem)))


def test_bss_eval_is_museval_s(monkeypatch):
    for name in ("musdb", "stempeg"):  # the reader of MUSDB wants ffmpeg; the metrics use neither
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    museval = pytest.importorskip("museval.metrics")
    rng = np.random.default_rng(1)
    rate = 2000
    stems = rng.standard_normal((2, 2, 4 * rate)) * np.repeat([0.2, 1, 2, 0.5], rate)
    estimates = 0.9 * stems + 0.3 * rng.standard_normal(stems.shape)
    arrays = [np.moveaxis(x, 1, 2) for x in (stems, estimates)]
    expected = museval.bss_eval(*arrays, window=rate, hop=rate, filters_len=16)[0]
    found = [metrics.bss_eval_sdr(s, e, rate) for s, e in zip(stems, estimates, strict=True)]
    assert found == pytest.approx(list(np.median(expected, axis=1)), abs=1e-6)
    stems[0, :, rate:] = 0  # a stem that rests has windows without SDR
    first = metrics.stem_scores(stems[0], estimates[0], rate)
    assert first["bss_sdr"] == pytest.approx(expected[0][0], abs=1e-6) and first["sdr"] < first["bss_sdr"]
    assert metrics.bss_eval_sdr(0 * stems[0], estimates[0], rate) is None


@settings(max_examples=20, deadline=None)
@given(st.floats(-12, 12), st.integers(0, 1000))
def test_log_spectral_distance_of_a_tilted_band_is_the_tilt(gain_db, seed):
    audio = 0.1 * np.random.default_rng(seed).standard_normal(16000)
    spectrum = np.fft.rfft(audio)
    spectrum[np.fft.rfftfreq(16000, 1 / 16000) > 3500] *= 10 ** (gain_db / 20)
    found = log_spectral_distance(audio, np.fft.irfft(spectrum, 16000))
    assert found == pytest.approx(abs(gain_db) / 10, abs=0.025)  # windows smear the edges of the clip


def test_log_spectral_distance_counts_the_upper_band_above_its_floor():
    rng = np.random.default_rng(2)
    audio = 0.1 * rng.standard_normal(32000)
    assert log_spectral_distance(audio, audio) == 0
    low = np.fft.rfft(audio)
    low[np.fft.rfftfreq(32000, 1 / 16000) < 3000] *= 0.1
    assert log_spectral_distance(audio, np.fft.irfft(low, 32000)) < 0.05
    faint = 1e-7 * rng.standard_normal((2, 32000))
    assert log_spectral_distance(faint[0], faint[1]) == 0
    # an empty band against noise whose bins are exponential around 0.01 times the window's energy of 768
    empty = log_spectral_distance(audio, np.zeros(32000))
    assert empty == pytest.approx(np.hypot(np.log10(7.68) + 8 - 0.251, 0.557), abs=0.05)


def test_silence_has_a_level_and_no_pesq():
    pytest.importorskip("pesq")
    assert metrics.level_dbfs(np.zeros(100)) == metrics.SILENCE_DBFS
    assert metrics.level_dbfs(np.full(100, 0.1)) == pytest.approx(-20)
    assert metrics.pesq_wb(np.zeros(16000, np.float32), np.zeros(16000, np.float32)) is None
    assert metrics.estoi(np.zeros(100), np.zeros(100)) is None


def test_speech_scores_rank_clean_above_noisy():
    for package in ("pesq", "pystoi", "speechmos", "librosa"):
        pytest.importorskip(package)
    noisy, clean = (x[:48000] for x in samples.speech())
    half = clean + 0.5 * (noisy - clean)
    worse, better = metrics.speech_scores(clean, noisy), metrics.speech_scores(clean, half)
    assert set(worse) == {"pesq", "estoi", "si_sdr", "kept", "dnsmos"}
    for metric in set(worse) - {"kept"}:
        assert better[metric] > worse[metric], metric
    assert set(metrics.speech_scores(clean, half, with_dnsmos=False)) == set(worse) - {"dnsmos"}
    assert better["si_sdr"] == pytest.approx(worse["si_sdr"] + 20 * np.log10(2), abs=0.5)
    assert metrics.dnsmos(3 * clean / np.abs(clean).max()) > 1  # beyond full scale is scaled, not refused


@given(gain_db=st.floats(-50, 0), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_what_is_kept_of_a_voice_is_the_gain_whatever_is_added(gain_db, seed):
    clean = samples.speech()[1][:32000]
    taken = 10 ** (gain_db / 20) * clean
    assert metrics.kept_db(clean, taken) == pytest.approx(gain_db, abs=0.01)
    assert metrics.kept_db(clean, -taken) == pytest.approx(gain_db, abs=0.01)  # phases do not matter
    noise = np.random.default_rng(seed).normal(0, 0.3 * np.sqrt(np.mean(clean**2)), len(clean))
    assert -0.5 < metrics.kept_db(clean, clean + noise) <= 0


def test_half_a_voice_is_minus_3_db_and_silence_the_floor():
    tone = np.sin(np.arange(64000) * 0.3)
    assert metrics.kept_db(tone, tone * (np.arange(64000) < 32000)) == pytest.approx(-3.01, abs=0.1)
    assert metrics.kept_db(tone, np.zeros(64000)) == -60


def test_the_interval_is_the_bootstrap_s():
    stats = pytest.importorskip("scipy.stats")
    values = list(np.random.default_rng(3).gamma(2, 1, 40))
    found = metrics.summary(values, draws=9000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=9000, method="percentile", rng=1).confidence_interval
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-4) and found["files"] == 40
    assert found["low"] == pytest.approx(expected.low, abs=0.05)
    assert found["high"] == pytest.approx(expected.high, abs=0.05)
    assert metrics.summary([2.5]) == {"mean": 2.5, "low": 2.5, "high": 2.5, "files": 1}
