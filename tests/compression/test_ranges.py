"""Ranges of static int8 against the extremes and the error of rounding that they stand for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.compression.ranges import STEPS, calibrated_ranges


def ranges_of(*batches: np.ndarray):
    """Of a layer that doubles what it gets."""

    class Doubled(torch.nn.Module):
        def forward(self, x):
            return 2 * x

    holder = torch.nn.Sequential(Doubled())
    return calibrated_ranges(holder, ["0"], [(torch.from_numpy(b),) for b in batches])["0"]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), tail=st.floats(2.5, 20), offset=st.floats(-3, 3))
def test_all_that_occurs_is_held_and_the_error_is_that_of_rounding(seed, tail, offset):
    x = (np.random.default_rng(seed).standard_t(tail, 20000) + offset).astype(np.float32)
    into, out = ranges_of(x[:10000], x[10000:])
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    assert (into.low, into.high) == (low, high) and (out.low, out.high) == (2 * low, 2 * high)
    step = (high - low) / STEPS
    error = np.round(x / step) * step - x
    snr = 10 * math.log10(np.mean(np.square(x)) / np.mean(np.square(error)))
    assert into.snr_db == pytest.approx(out.snr_db, abs=1e-3)
    # where values are smaller than a step their rounding is less even, and less
    assert -0.5 < snr - into.snr_db < 3


def test_a_layer_that_runs_once_for_each_tile_is_judged_as_one_that_runs_on_all():
    class Tiled(torch.nn.Module):
        def __init__(self, tiles):
            super().__init__()
            self.layer, self.tiles = torch.nn.Conv1d(1, 2, 1), tiles

        def forward(self, x):
            return torch.cat([self.layer(tile) for tile in x.split(x.shape[-1] // self.tiles, dim=-1)], dim=-1)

    x = torch.from_numpy(np.random.default_rng(0).standard_t(3, (1, 1, 4096)).astype(np.float32))
    whole, tiled = Tiled(1), Tiled(4)
    tiled.load_state_dict(whole.state_dict())
    sides = [calibrated_ranges(network, ["layer"], [(x,)])["layer"] for network in (whole, tiled)]
    for expected, found in zip(*sides, strict=True):
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)
        assert found.snr_db == pytest.approx(expected.snr_db, abs=1e-4)


def test_silence_and_layers_that_see_one_value():
    silent = ranges_of(np.zeros(100, np.float32))[0]
    assert (silent.low, silent.high, silent.snr_db) == (0, 0, math.inf)
    constant = ranges_of(np.full(100, -2.0, np.float32))[0]
    assert (constant.low, constant.high) == (-2, 0) and constant.snr_db > 40
    faint = ranges_of(np.full(100, 1e-30, np.float32))[0]
    assert faint.high == pytest.approx(1e-30) and faint.snr_db == math.inf
