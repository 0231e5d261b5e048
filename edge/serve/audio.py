"""One client's audio through the model, at the client's own sample rate."""

from __future__ import annotations

import functools

import numpy as np

from edge.audio import Resampler
from edge.manifest import Manifest
from edge.runtime.graphs import Graph
from edge.runtime.streams import EnhancerStream


class ClientStream:
    """Streams one channel of `sample_rate` Hz; what comes out, concatenated, is aligned with the input.

    The same as `edge-run` makes of a recording of that rate, whatever the blocks that it comes in.
    """

    def __init__(self, manifest: Manifest, graph: Graph, sample_rate: int):
        self.sample_rate = sample_rate
        self._model_rate = manifest.sample_rate
        self._enhancer = EnhancerStream(manifest, graph)
        self.reset()

    def reset(self) -> None:
        """Forget all input."""
        self._enhancer.reset()
        self._down = Resampler(self.sample_rate, self._model_rate, 1)
        self._up = Resampler(self._model_rate, self.sample_rate, 1)
        self.received = self.delivered = 0

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n,), n >= 0, to the enhanced samples that are ready, float32 (m,)."""
        self.received += len(samples)
        return self._delivered(self._raised(self._enhancer.process(self._down.process(samples[:, None])[:, 0])))

    def flush(self) -> np.ndarray:
        """The rest, float32 (m,): as many samples as came in have then gone out. Only `reset` may follow."""
        rest = [
            self._raised(self._enhancer.process(self._down.flush()[:, 0])),
            self._raised(self._enhancer.flush()),
            self._up.flush()[:, 0],
        ]
        out = self._delivered(np.concatenate(rest))
        missing = self.received - self.delivered  # resampling there and back may round by a few samples
        return np.concatenate([out, self._delivered(np.zeros(missing, np.float32))])

    def _raised(self, enhanced: np.ndarray) -> np.ndarray:
        return self._up.process(enhanced[:, None])[:, 0]

    def _delivered(self, samples: np.ndarray) -> np.ndarray:
        samples = samples[: self.received - self.delivered]
        self.delivered += len(samples)
        return samples


def stream_latency(manifest: Manifest, sample_rate: int) -> int:
    """By how many samples of `sample_rate` Hz a ClientStream's output can lag its input."""
    if sample_rate == manifest.sample_rate:
        return manifest.latency_samples
    return _converted_latency(manifest.sample_rate, manifest.hop, manifest.latency_samples, sample_rate)


@functools.lru_cache(maxsize=64)
def _converted_latency(model_rate: int, hop: int, latency: int, sample_rate: int) -> int:
    """Measured on two seconds of silence: the converters work in blocks of their own."""
    down, up = Resampler(sample_rate, model_rate, 1), Resampler(model_rate, sample_rate, 1)
    step = sample_rate // 1000
    silence = np.zeros((step, 1), np.float32)
    received = lowered = enhanced = delivered = worst = 0
    for _ in range(2000):
        received += step
        lowered += len(down.process(silence))
        ready = max(0, lowered // hop * hop - (latency - hop))
        delivered += len(up.process(np.zeros((ready - enhanced, 1), np.float32)))
        enhanced = ready
        worst = max(worst, received - delivered)
    return worst + step
