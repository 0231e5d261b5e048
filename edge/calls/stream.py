"""One call's audio: frames of any rate and size in, as many samples out, a constant latency later."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edge.backends import backend_named
from edge.bundle import open_bundle
from edge.console import processors
from edge.errors import InputError
from edge.runtime.converted import at_rate
from edge.runtime.golden import check_golden
from edge.runtime.graphs import default_backend, load_graph
from edge.runtime.lowdelay import LowDelayResampler
from edge.runtime.session import Live, new_session

FADE = 0.01  # seconds in which enhancement goes on or off


class CallModel:
    """An enhancer's bundle, loaded once for any number of calls; `pool` are the threads that they compute on.

    Raises InputError for a bundle that does not enhance, EdgeError where the graph fails its golden check.
    """

    def __init__(self, bundle: str | Path, backend: str | None = None):
        self.bundle = open_bundle(bundle)
        self.manifest = self.bundle.manifest
        if self.manifest.task != "enhance":
            raise InputError(f"{self.bundle.path}: {self.manifest.name} separates music; a call needs an enhancer")
        backend = backend or default_backend(self.bundle)
        self.graph = load_graph(self.bundle, backend)
        check_golden(self.bundle, backend, self.graph)
        self.pool = ThreadPoolExecutor(processors() if backend_named(backend).concurrent else 1, "enhance")

    def close(self) -> None:
        """End the threads, when the calls are over."""
        self.pool.shutdown()


class CallStream:
    """The live form of `channels` mono streams at `rate` Hz.

    `enabled`: False gives the original, as late as the enhanced signal. `limit`: nothing is made quieter by more than
    so many dB; None: no bound. Both may be set at any time, and fade in 10 ms. Not for two threads at once.
    """

    def __init__(self, model: CallModel, rate: int, channels: int = 1, limit: float | None = None):
        self.rate, self.channels = rate, channels
        self.enabled, self.limit = True, limit
        sessions = [new_session(model.bundle, model.graph) for _ in range(channels)]
        self._live = [Live(at_rate(session, rate, converter=LowDelayResampler)) for session in sessions]
        self.latency_samples = self._live[0].latency_samples
        self._share = self._wanted()
        self.reset()

    @property
    def latency(self) -> float:
        """Seconds by which the output follows the input."""
        return self.latency_samples / self.rate

    def reset(self) -> None:
        """Forget all input."""
        for live in self._live:
            live.reset()
        self._dry = np.zeros((self.latency_samples, self.channels), np.float32)

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n, channels), full scale +-1, to the same shape; n >= 0."""
        count = len(samples)
        enhanced = np.stack([live.process(samples[:, c]) for c, live in enumerate(self._live)], axis=1)
        both = np.concatenate([self._dry, samples])
        dry, self._dry = both[:count], both[count:]
        return dry + self._gains(count)[:, None] * (enhanced - dry)

    def process_pcm(self, samples: np.ndarray) -> np.ndarray:
        """int16 (n, channels) to the same."""
        out = self.process(samples.astype(np.float32) / 32768)
        return np.clip(np.rint(out * 32768), -32768, 32767).astype(np.int16)

    def _wanted(self) -> float:
        if not self.enabled:
            return 0.0
        return 1.0 if self.limit is None else 1 - 10 ** (-self.limit / 20)

    def _gains(self, count: int) -> np.ndarray:
        """Share of the enhanced signal in each of the next samples, float32 (n,)."""
        wanted, now = self._wanted(), self._share
        if wanted == now or not count:
            return np.full(count, now, np.float32)
        steps = np.arange(1, count + 1) / (FADE * self.rate)
        gains = np.minimum(now + steps, wanted) if wanted > now else np.maximum(now - steps, wanted)
        self._share = float(gains[-1])
        return gains.astype(np.float32)
