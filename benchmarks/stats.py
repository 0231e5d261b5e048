"""Estimates that survive a noisy machine: medians of ratios that were paired in time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """A median ratio, and the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def paired_ratio(times: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """The median of times[i] / baseline[i], one pair a round: what slows a round slows both of its members.

    Both sequences are as long as there were rounds, at least one; all values are positive.
    """
    ratios = sorted(t / b for t, b in zip(times, baseline, strict=True))
    low, high = _median_interval(len(ratios))
    return Ratio(statistics.median(ratios), ratios[low], ratios[high])


def _median_interval(count: int) -> tuple[int, int]:
    """Indices into `count` sorted values that hold the median of what they were drawn from with 95 % confidence.

    From the binomial distribution of how many values lie below the median: nothing is assumed about the noise. Fewer
    than six values cannot give 95 %: then all of them.
    """
    below, lowest = 0.0, 0
    for k in range((count - 1) // 2 + 1):
        below += math.comb(count, k) / 2**count
        if below > 0.025:
            break
        lowest = k + 1
    lowest = max(lowest - 1, 0)
    return lowest, count - 1 - lowest
