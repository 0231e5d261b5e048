"""Streams over a graph: `process` any number of samples, `flush` what is left, `reset` to a fresh start.

What `process` and `flush` return, concatenated, has exactly the length of the input and is aligned with it; no
sample comes later than `latency_samples` after its own. See edge.runtime.session for the form with a constant delay.
"""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.runtime.binding import Binding
from edge.runtime.graphs import Graph, bind

SILENCE = 1e-4  # RMS, -80 dBFS: what is below counts as silent
SILENT_HOPS = 5  # after so many silent hops the output is zero and nothing is run
MAX_SAMPLE = 1e4  # beyond it (+80 dBFS) a sample is a fault, and would overflow in the network
_INFINITY = float("inf")


class EnhancerStream:
    """Streams one channel through an enhancer's graph, hop by hop, from zero state.

    The output fades to zero over the fifth silent hop in a row (below -80 dBFS RMS); until a hop is louder nothing
    is run and the states rest, so speech that follows a pause is enhanced as if the pause had five hops.
    NaN, infinite and absurd input samples count in `bad_inputs` and are taken for zero; a hop in which the model
    itself gives such samples counts in `bad_outputs`, comes out as zeros and resets the states.
    """

    def __init__(self, manifest: Manifest, graph: Graph):
        self.sample_rate = manifest.sample_rate
        self.latency_samples = manifest.latency_samples
        self.bad_inputs = self.bad_outputs = 0
        self.hops = self.inferences = 0  # hops taken, and how many of them were run
        self._hop, self._delay = manifest.hop, manifest.delay
        self._bound: Binding = bind(manifest, graph)
        self._frame = self._bound.input[0]
        self._silent_energy = SILENCE**2 * manifest.hop
        self._fade_out = np.linspace(1, 0, manifest.hop, dtype=np.float32)
        # The output of the first hop after a pause belongs to the pause for as long as the delay.
        self._fade_in = np.linspace(0, 1, min(manifest.delay, manifest.hop), dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all input; the counters go on."""
        self._bound.reset()
        self._fill = 0
        self._skip = self._delay  # the graph's first `delay` samples precede the input
        self._owed = 0
        self._silent = 0

    @np.errstate(over="ignore", invalid="ignore")  # of energies: what overflows is looked at
    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n,), n >= 0, to the enhanced samples that are ready, float32 (m,), the caller's own."""
        count, hop = len(samples), self._hop
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
        skipped = min(self._skip, self._hop)
        self._skip -= skipped
        count = min(self._hop - skipped, self._owed)
        out[at : at + count] = 0 if enhanced is None else enhanced[skipped : skipped + count]
        self._owed -= count
        return count

    def _enhance(self) -> np.ndarray | None:
        """The graph's output for the full frame, (hop,); None for a silent one."""
        frame = self._frame
        self.hops += 1
        energy = np.dot(frame, frame)  # NaN and infinity show in it, and cost no pass of their own
        if not energy < MAX_SAMPLE:
            energy = self._repair(energy)
        woken = self._silent >= SILENT_HOPS
        if energy < self._silent_energy:
            self._silent += 1
            if woken:
                return None
            woken = False
        else:
            self._silent = 0
        self._bound.run()
        self.inferences += 1
        enhanced = self._bound.output[0]
        if not np.dot(enhanced, enhanced) < _INFINITY:
            self.bad_outputs += 1
            self._bound.reset()
            return None
        if woken:
            enhanced[: len(self._fade_in)] *= self._fade_in
        elif self._silent == SILENT_HOPS:
            enhanced *= self._fade_out
        return enhanced

    def _repair(self, energy: np.floating) -> np.floating:
        """Zero the samples of the frame that no audio has; most loud frames have none. Returns the energy."""
        bad = ~(np.abs(self._frame) < MAX_SAMPLE)
        if not bad.any():
            return energy
        self.bad_inputs += int(bad.sum())
        self._frame[bad] = 0
        return np.dot(self._frame, self._frame)


class Separator:
    """Streams a recording through a separator's graph: the apply loop of demucs (`demucs.apply.apply_model`
    with `split=True, shifts=0`), of which it keeps only two segments.

    Segments start every `hop` samples and are weighted by a triangle, then divided by the running sum of weights.
    A last segment that is not full is centred in the real audio around it. `mean` and `std` are those of the
    whole recording's mono mix (see `Statistics`); the stems are scaled back. A silent segment (below -80 dBFS RMS)
    is not run: its stems are silent. With `consistent` the stems' sum is the mix: what is missing is shared out.
    """

    def __init__(self, manifest: Manifest, graph: Graph, mean: float = 0.0, std: float = 1.0, consistent: bool = False):
        assert manifest.segment is not None
        self.sample_rate = manifest.sample_rate
        self.latency_samples = manifest.latency_samples
        self._bound: Binding = bind(manifest, graph)
        self._consistent = consistent
        self._segment, self._hop = manifest.segment, manifest.hop
        self._mean, self._scale = np.float32(mean), np.float32(std + 1e-8)
        channels, sources = manifest.channels, len(manifest.sources)
        half = self._segment // 2
        weight = np.concatenate([np.arange(1, half + 1), np.arange(self._segment - half, 0, -1)])
        self._weight = (weight / weight.max()).astype(np.float32)
        self._past = half  # real audio kept before the current offset, for the last segments
        self._audio = np.zeros((channels, self._past + self._segment), np.float32)
        self._sum = np.zeros((sources, channels, self._segment), np.float32)
        self._weights = np.zeros(self._segment, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all input."""
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
            self._audio[:, at : at + taken] = (mix[:, start : start + taken] - self._mean) / self._scale
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
        length, segment, hop = self._fill, self._segment, self._hop
        before = (segment - length) // 2
        audio = self._audio[:, self._past - before : self._past + length]
        mix = self._bound.input[0]
        mix[:, : before + length] = audio
        mix[:, before + length :] = 0
        if is_silent(audio * self._scale + self._mean):
            stems = np.broadcast_to(-self._mean / self._scale, self._sum.shape)
        else:
            self._bound.run()
            stems = self._bound.output[0]
            if self._consistent:
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


def is_silent(audio: np.ndarray) -> bool:
    """Whether the RMS of float32 (channels, n) is below -80 dBFS in every channel."""
    return bool(np.all(np.einsum("cn,cn->c", audio, audio) < SILENCE**2 * audio.shape[1]))


def make_consistent(stems: np.ndarray, mix: np.ndarray) -> None:
    """Add an equal share of what their sum lacks of the mix (channels, n) to the stems (sources, channels, n)."""
    stems += (mix - stems.sum(axis=0)) / len(stems)


class Statistics:
    """Mean and unbiased standard deviation of the mono mix, updated block by block (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0

    def update(self, block: np.ndarray) -> None:
        """Add float32 (n, channels)."""
        if len(block) == 0:
            return
        mono = block.mean(axis=1, dtype=np.float64)
        mean, count = float(mono.mean()), self.count + len(mono)
        shift = mean - self.mean
        self._squares += float(np.sum((mono - mean) ** 2)) + shift**2 * self.count * len(mono) / count
        self.mean += shift * len(mono) / count
        self.count = count

    @property
    def std(self) -> float:
        """0 for fewer than two samples."""
        return float(np.sqrt(self._squares / (self.count - 1))) if self.count > 1 else 0.0
