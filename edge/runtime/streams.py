"""Streams over a graph: `process` any number of samples, `flush` what is left, `reset` to a fresh start.

What `process` and `flush` return, concatenated, has exactly the length of the input and is aligned with it.
"""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.runtime.graphs import Graph


class EnhancerStream:
    """Streams one channel through an enhancer's graph, hop by hop, from zero state."""

    def __init__(self, manifest: Manifest, graph: Graph):
        self.sample_rate = manifest.sample_rate
        self.latency_samples = manifest.latency_samples
        self._graph = graph
        self._hop, self._delay = manifest.hop, manifest.delay
        self._frame = np.zeros((1, manifest.hop), np.float32)
        self._zeros = [np.zeros(spec.shape, spec.dtype) for spec in manifest.states]
        self.reset()

    def reset(self) -> None:
        """Forget all input."""
        self._states = self._zeros
        self._fill = 0
        self._skip = self._delay  # the graph's first `delay` samples precede the input
        self._owed = 0

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n,), n >= 0, to the enhanced samples that are ready, float32 (m,)."""
        self._owed += len(samples)
        pieces = []
        start = 0
        while start < len(samples):
            taken = min(self._hop - self._fill, len(samples) - start)
            self._frame[0, self._fill : self._fill + taken] = samples[start : start + taken]
            self._fill += taken
            start += taken
            if self._fill == self._hop:
                pieces.append(self._run())
        return self._joined(pieces)

    def flush(self) -> np.ndarray:
        """The samples still owed, drained with zeros, float32 (m,); the stream is reset afterwards."""
        pieces = []
        while self._owed > 0:
            self._frame[0, self._fill :] = 0
            pieces.append(self._run())
        out = self._joined(pieces)
        self.reset()
        return out

    def _run(self) -> np.ndarray:
        enhanced, *self._states = self._graph([self._frame, *self._states])
        self._fill = 0
        skipped = min(self._skip, self._hop)
        self._skip -= skipped
        out = enhanced[0, skipped : skipped + self._owed]
        self._owed -= len(out)
        return out

    @staticmethod
    def _joined(pieces: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


class Separator:
    """Streams a recording through a separator's graph: the apply loop of demucs (`demucs.apply.apply_model`
    with `split=True, shifts=0`), of which it keeps only two segments.

    Segments start every `hop` samples and are weighted by a triangle, then divided by the running sum of weights.
    A last segment that is not full is centred in the real audio around it. `mean` and `std` are those of the
    whole recording's mono mix (see `Statistics`); the stems are scaled back.
    """

    def __init__(self, manifest: Manifest, graph: Graph, mean: float = 0.0, std: float = 1.0):
        assert manifest.segment is not None
        self.sample_rate = manifest.sample_rate
        self.latency_samples = manifest.latency_samples
        self._graph = graph
        self._segment, self._hop = manifest.segment, manifest.hop
        self._mean, self._scale = np.float32(mean), np.float32(std + 1e-8)
        channels, sources = manifest.channels, len(manifest.sources)
        half = self._segment // 2
        weight = np.concatenate([np.arange(1, half + 1), np.arange(self._segment - half, 0, -1)])
        self._weight = (weight / weight.max()).astype(np.float32)
        self._past = half  # real audio kept before the current offset, for the last segments
        self._audio = np.zeros((channels, self._past + self._segment), np.float32)
        self._mix = np.zeros((1, channels, self._segment), np.float32)
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
        self._mix[0, :, : before + length] = audio
        self._mix[0, :, before + length :] = 0
        stems = self._graph([self._mix])[0][0]
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
