"""Streams over a graph: `process` any number of samples, `flush` what is left, `reset` to a fresh start.

What `process` and `flush` return, concatenated, has exactly the length of the input and is aligned with it; no
sample comes later than `latency_samples` after its own. See edge.runtime.session for the form with a constant delay.
"""

from __future__ import annotations

import numpy as np

from edge.interface import Interface
from edge.runtime.graphs import Graph, bind
from edge.runtime.guard import Guard, is_silent, silent_energy

SILENT_HOPS = 5  # after so many silent hops the output is zero and nothing is run
MONO_SHARE = 0.3  # of the deviation of all channels that the mono mix keeps in nearly all music


class EnhancerStream:
    """Streams one channel through an enhancer's graph, hop by hop, from zero state.

    The output fades to zero over the fifth silent hop in a row (below -80 dBFS RMS); until a hop is louder nothing
    is run and the states rest, so speech that follows a pause is enhanced as if the pause had five hops.
    Faults: see Guard; a hop for which the model gives no audio comes out as zeros.
    """

    shape_in = shape_out = ()

    def __init__(self, interface: Interface, graph: Graph):
        self.sample_rate, self.hop = interface.sample_rate, interface.hop
        self.latency_samples = interface.latency_samples
        self._delay = interface.delay
        self._guard = Guard(bind(interface, graph))
        self.counts = self._guard.counts
        self._frame = self._guard.input
        self._silent_energy = silent_energy(interface.hop)
        self._fade_out = np.linspace(1, 0, interface.hop, dtype=np.float32)
        # The output of the first hop after a pause belongs to the pause for as long as the delay.
        self._fade_in = np.linspace(0, 1, min(interface.delay, interface.hop), dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all input; the counts go on."""
        self._guard.reset()
        self._fill = 0
        self._skip = self._delay  # the graph's first `delay` samples precede the input
        self._owed = 0
        self._silent = 0

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n,), n >= 0, to the enhanced samples that are ready, float32 (m,), the caller's own."""
        count, hop = len(samples), self.hop
        self._owed += count
        out = np.empty(max(0, (self._fill + count) // hop * hop - self._skip), np.float32)
        start = done = 0
        while start < count:
            taken = min(hop - self._fill, count - start)
            self._frame[self._fill : self._fill + taken] = samples[start : start + taken]
            self._fill += taken
            start += taken
            if self._fill == hop:
                done += self._run(out, done)
        return out

    def flush(self) -> np.ndarray:
        """The samples still owed, drained with zeros, float32 (m,); the stream is reset afterwards."""
        out = np.empty(self._owed, np.float32)
        done = 0
        while self._owed > 0:
            self._frame[self._fill :] = 0
            done += self._run(out, done)
        self.reset()
        return out

    def _run(self, out: np.ndarray, at: int) -> int:
        """Run one hop and put what is owed of it into `out` from `at` on; returns how many samples these are."""
        self._fill = 0
        enhanced = self._enhance()
        skipped = min(self._skip, self.hop)
        self._skip -= skipped
        count = min(self.hop - skipped, self._owed)
        out[at : at + count] = 0 if enhanced is None else enhanced[skipped : skipped + count]
        self._owed -= count
        return count

    def _enhance(self) -> np.ndarray | None:
        """The graph's output for the full frame, (hop,); None for a silent one."""
        self.counts.hops += 1
        woken = self._silent >= SILENT_HOPS
        if self._guard.repair(self._frame) < self._silent_energy:
            self._silent += 1
            if woken:
                return None
        else:
            self._silent = 0
        enhanced = self._guard.run()
        if enhanced is None:
            return None
        if self._silent == SILENT_HOPS:
            enhanced *= self._fade_out
        elif woken:
            enhanced[: len(self._fade_in)] *= self._fade_in
        return enhanced


class Separator:
    """Streams a recording through a separator's graph: the apply loop of demucs (`demucs.apply.apply_model`
    with `split=True, shifts=0`), of which it keeps only two segments.

    Segments start every `hop` samples and are weighted by a triangle, then divided by the running sum of weights.
    A last segment that is not full is centred in the real audio around it. `mean` and `std` are those of the
    whole recording's mono mix (see `Statistics`); the stems are scaled back. A silent segment (below -80 dBFS RMS)
    is not run: its stems are silent. With `consistent` the stems' sum is the mix: what is missing is shared out.
    Faults: see Guard; a segment for which the model gives no audio counts as silent.
    """

    def __init__(
        self, interface: Interface, graph: Graph, mean: float = 0.0, std: float = 1.0, consistent: bool = False
    ):
        assert interface.segment is not None
        self.sample_rate, self.hop = interface.sample_rate, interface.hop
        self.latency_samples = interface.latency_samples
        self._guard = Guard(bind(interface, graph))
        self.counts = self._guard.counts
        self._consistent = consistent
        self._segment = interface.segment
        self._mean, self._scale = np.float32(mean), np.float32(std + 1e-8)
        channels, sources = interface.channels, len(interface.sources)
        self.shape_in, self.shape_out = (channels,), (sources, channels)
        half = self._segment // 2
        weight = np.concatenate([np.arange(1, half + 1), np.arange(self._segment - half, 0, -1)])
        self._weight = (weight / weight.max()).astype(np.float32)
        self._past = half  # real audio kept before the current offset, for the last segments
        self._audio = np.zeros((channels, self._past + self._segment), np.float32)
        self._sum = np.zeros((sources, channels, self._segment), np.float32)
        self._weights = np.zeros(self._segment, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all input; the counts go on."""
        self._guard.reset()
        self._audio[:] = 0
        self._sum[:] = 0
        self._weights[:] = 0
        self._fill = 0  # samples from the current offset on

    def process(self, mix: np.ndarray) -> np.ndarray:
        """float32 (channels, n), n >= 0, to the stems that are ready, float32 (sources, channels, m)."""
        pieces = []
        start = 0
        while start < mix.shape[1]:
            taken = min(self._segment - self._fill, mix.shape[1] - start)
            at = self._past + self._fill
            new = self._audio[:, at : at + taken]
            new[:] = mix[:, start : start + taken]
            self._guard.repair(new)
            new -= self._mean
            new /= self._scale
            self._fill += taken
            start += taken
            if self._fill == self._segment:
                pieces.append(self._run())
        return self._joined(pieces)

    def flush(self) -> np.ndarray:
        """The stems of what is left, float32 (sources, channels, m); the stream is reset afterwards."""
        pieces = []
        while self._fill > 0:
            pieces.append(self._run())
        out = self._joined(pieces)
        self.reset()
        return out

    def _run(self) -> np.ndarray:
        """Run the segment at the current offset, which has `_fill` samples, and move on by one hop."""
        length, segment, hop = self._fill, self._segment, self.hop
        before = (segment - length) // 2
        audio = self._audio[:, self._past - before : self._past + length]
        mix = self._guard.input
        mix[:, : before + length] = audio
        mix[:, before + length :] = 0
        self.counts.hops += 1
        stems = None if is_silent(audio * self._scale + self._mean) else self._guard.run()
        if stems is None:
            stems = np.broadcast_to(-self._mean / self._scale, self._sum.shape)
        elif self._consistent:
            # in normalised terms: every stem gets the mean back, the mix has it once
            make_consistent(stems, mix - (len(stems) - 1) * self._mean / self._scale)
        self._sum[:, :, :length] += self._weight[:length] * stems[:, :, before : before + length]
        self._weights[:length] += self._weight[:length]
        ready = min(hop, length)
        out = self._sum[:, :, :ready] / self._weights[:ready] * self._scale + self._mean
        for buffer in (self._sum, self._weights):
            buffer[..., : segment - hop] = buffer[..., hop:].copy()
            buffer[..., segment - hop :] = 0
        self._audio[:, : self._past + segment - hop] = self._audio[:, hop:].copy()
        self._fill = length - ready
        return out

    def _joined(self, pieces: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(pieces, axis=2) if pieces else self._sum[:, :, :0].copy()


def make_consistent(stems: np.ndarray, mix: np.ndarray) -> None:
    """Add an equal share of what their sum lacks of the mix (channels, n) to the stems (sources, channels, n)."""
    stems += (mix - stems.sum(axis=0)) / len(stems)


class Statistics:
    """Mean and unbiased standard deviation of the mono mix, updated block by block (Chan et al. 1979).

    Where the channels nearly cancel in the mono mix (karaoke tracks, a channel turned around) the deviation is at least
    MONO_SHARE of that of all channels: over a deviation near 0 the audio would leave the range of fp16 and int8.
    """

    def __init__(self) -> None:
        self.count, self.mean, self._squares, self._apart = 0, 0.0, 0.0, 0.0

    def update(self, block: np.ndarray) -> None:
        """Add float32 (n, channels)."""
        if len(block) == 0:
            return
        mono = block.mean(axis=1, dtype=np.float64)
        self._apart += float(np.sum((block - mono[:, None]) ** 2)) / block.shape[1]
        mean, count = float(mono.mean()), self.count + len(mono)
        shift = mean - self.mean
        self._squares += float(np.sum((mono - mean) ** 2)) + shift**2 * self.count * len(mono) / count
        self.mean += shift * len(mono) / count
        self.count = count

    @property
    def std(self) -> float:
        """0 for fewer than two samples."""
        squares = max(self._squares, MONO_SHARE**2 * (self._squares + self._apart))
        return float(np.sqrt(squares / (self.count - 1))) if self.count > 1 else 0.0
