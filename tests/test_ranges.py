"""Ranges of static int8 against the error that they really make."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.compression.ranges import CLIPS, STEPS, calibrated_ranges


def snr_db(x: np.ndarray, low: float, high: float) -> float:
    """Of x against what is left of it after 8 bits over low..high."""
    step = (high - low) / STEPS
    error = np.round(np.clip(x, low, high) / step) * step - x
    return 10 * math.log10(np.mean(x**2) / np.mean(error**2))


def ranges_of(*batches: np.ndarray):
    """Of a layer that hands on what it gets."""
    layer = torch.nn.Sequential(torch.nn.Identity())
    return calibrated_ranges(layer, ["0"], [(torch.from_numpy(b),) for b in batches])["0"]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), tail=st.floats(1.2, 20), offset=st.floats(-3, 3))
def test_no_other_clipping_has_less_error(seed, tail, offset):
    x = (np.random.default_rng(seed).standard_t(tail, 20000) + offset).astype(np.float32)
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    into, out = ranges_of(x[:9000], x[9000:])
    assert into == out and low * 1.0001 <= into.low <= 0 <= into.high <= high * 1.0001
    assert into.snr_db == pytest.approx(snr_db(x, into.low, into.high), abs=0.3)
    assert max(snr_db(x, c * low, c * high) for c in CLIPS) - into.snr_db < 0.3


def test_peaks_are_clipped_and_even_values_are_not():
    even = np.random.default_rng(0).uniform(-1, 1, 100000).astype(np.float32)
    assert ranges_of(even)[0].high == pytest.approx(1, rel=1e-3)
    peaked = np.random.default_rng(0).standard_t(4, 100000).astype(np.float32)
    clipped = ranges_of(peaked)[0]
    full = snr_db(peaked, float(peaked.min()), float(peaked.max()))
    assert clipped.high < 0.9 * peaked.max() and clipped.snr_db > full + 0.5


def test_silence_and_layers_that_see_one_value():
    silent = ranges_of(np.zeros(100, np.float32))[0]
    assert (silent.low, silent.high, silent.snr_db) == (0, 0, math.inf)
    constant = ranges_of(np.full(100, -2.0, np.float32))[0]
    assert constant.low == -2 and constant.high == 0 and constant.snr_db > 40
