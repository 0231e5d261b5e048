"""Separation with less latency than a segment: overlapping segments that end in the present.

Every `hop` samples the graph runs on the newest segment of audio. Of its stems the last `lookahead` samples are left
to the next runs, which know what follows them; the `hop` before them come out, crossfaded with the run before over
`crossfade` samples. A sample so waits hop + lookahead + crossfade samples at most, and the graph, whose segment is
fixed, costs segment / hop times as much as a run without overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.errors import InputError
from edge.interface import Interface
from edge.runtime.graphs import Graph, bind
from edge.runtime.guard import Guard, is_silent
from edge.runtime.streams import Statistics, make_consistent

MIN_LATENCY = 0.1  # seconds; below it the graph has no context to look ahead into
MEMORY_SECONDS = 60.0  # of the running normalisation
WARM_SECONDS = 1.0  # of typical audio, with which it starts
WARM_STD = 0.1


@dataclass(frozen=True)
class LatencyPlan:
    """How a latency is spent, in samples at the model's rate."""

    hop: int
    lookahead: int
    crossfade: int

    @property
    def latency(self) -> int:
        return self.hop + self.lookahead + self.crossfade


def latency_plan(interface: Interface, latency: float | None = None) -> LatencyPlan:
    """Spend `latency` seconds (default: a segment's) on hop, look-ahead and crossfade.

    Raises InputError for less than 0.1 s or more than the segment.
    """
    assert interface.segment is not None
    longest = interface.segment / interface.sample_rate
    latency = longest if latency is None else latency
    if not MIN_LATENCY <= latency <= longest:
        raise InputError(f"a latency of {latency:g} s is outside {MIN_LATENCY} to {longest:g} s")
    total = round(latency * interface.sample_rate)
    hop, crossfade = total // 2, total // 10
    return LatencyPlan(hop, total - hop - crossfade, crossfade)


class RunningStatistics(Statistics):
    """Mean and standard deviation of the mono mix so far, of about its last minute; see `Statistics`.

    It starts as if it had heard a second of typical audio, so that the first quiet samples are not blown up.
    """

    def __init__(self, sample_rate: int):
        super().__init__()
        self._most = round(MEMORY_SECONDS * sample_rate)
        self.count = round(WARM_SECONDS * sample_rate)
        self._squares = WARM_STD**2 * self.count

    def update(self, block: np.ndarray) -> None:
        super().update(block)
        if self.count > self._most:
            self._squares *= self._most / self.count
            self._apart *= self._most / self.count
            self.count = self._most


class LowLatencySeparator:
    """Streams any number of samples through a separator's graph with the latency of a `LatencyPlan`.

    Normalised by the running statistics, hence causal. A silent segment (below -80 dBFS RMS) is not run, its stems
    are silent. With `consistent` the stems' sum is the mix. Faults: see Guard; a segment for which the model gives
    no audio comes out silent.
    """

    def __init__(self, interface: Interface, graph: Graph, plan: LatencyPlan, consistent: bool = False):
        assert interface.segment is not None
        self.sample_rate = interface.sample_rate
        self.plan, self.hop = plan, plan.hop
        self.latency_samples = plan.latency
        self._guard = Guard(bind(interface, graph))
        self.counts = self._guard.counts
        self._segment, self._consistent = interface.segment, consistent
        channels, sources = interface.channels, len(interface.sources)
        self.shape_in, self.shape_out = (channels,), (sources, channels)
        self._audio = np.zeros((channels, interface.segment), np.float32)
        self._tail = np.zeros((sources, channels, plan.crossfade), np.float32)
        self._rise = np.linspace(0, 1, plan.crossfade, endpoint=False, dtype=np.float32)
        self._silent = np.zeros((sources, channels, interface.segment), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all input; the counts go on."""
        self._guard.reset()
        self._statistics = RunningStatistics(self.sample_rate)
        self._audio[:] = 0
        self._tail[:] = 0
        self._fill = 0  # new samples at the end of `_audio`'s next hop
        self._skip = self.plan.lookahead + self.plan.crossfade
        self._owed = 0

    def process(self, mix: np.ndarray) -> np.ndarray:
        """float32 (channels, n), n >= 0, to the stems that are ready, float32 (sources, channels, m)."""
        count, hop = mix.shape[1], self.plan.hop
        self._owed += count
        ready = max(0, (self._fill + count) // hop * hop - self._skip)
        out = np.empty((*self._tail.shape[:2], ready), np.float32)
        start = done = 0
        while start < count:
            taken = min(hop - self._fill, count - start)
            at = self._segment - hop + self._fill
            self._audio[:, at : at + taken] = mix[:, start : start + taken]
            self._fill += taken
            start += taken
            if self._fill == hop:
                done += self._run(out, done)
        return out

    def flush(self) -> np.ndarray:
        """The stems still owed, drained with zeros, float32 (sources, channels, m); the stream is reset afterwards."""
        out = np.empty((*self._tail.shape[:2], self._owed), np.float32)
        done = 0
        while self._owed > 0:
            self._audio[:, self._segment - self.plan.hop + self._fill :] = 0
            done += self._run(out, done)
        self.reset()
        return out

    def _run(self, out: np.ndarray, at: int) -> int:
        plan, end = self.plan, self._segment - self.plan.lookahead
        stems = self._separate()
        start = end - plan.hop - plan.crossfade
        skipped = min(self._skip, plan.hop)
        self._skip -= skipped
        count = min(plan.hop - skipped, self._owed)
        first = stems[:, :, start : start + plan.crossfade]
        first[:] = self._tail + self._rise * (first - self._tail)
        out[:, :, at : at + count] = stems[:, :, start + skipped : start + skipped + count]
        self._tail[:] = stems[:, :, end - plan.crossfade : end]
        self._owed -= count
        self._audio[:, : self._segment - plan.hop] = self._audio[:, plan.hop :].copy()
        self._fill = 0
        return count

    def _separate(self) -> np.ndarray:
        """The stems of the newest segment, (sources, channels, segment), at the input's scale."""
        self.counts.hops += 1
        new = self._audio[:, self._segment - self.plan.hop :]
        self._guard.repair(new)
        self._statistics.update(new[:, : self._fill].T)  # not the zeros of a flush
        if is_silent(self._audio):
            return self._nothing()
        scale = np.float32(self._statistics.std + 1e-8)  # the graph itself takes the mean of each segment away
        np.divide(self._audio, scale, out=self._guard.input)
        stems = self._guard.run()
        if stems is None:
            return self._nothing()
        stems *= scale
        if self._consistent:
            make_consistent(stems, self._audio)
        return stems

    def _nothing(self) -> np.ndarray:
        self._silent[:] = 0
        return self._silent
