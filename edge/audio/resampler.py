"""Sample-rate conversion block by block."""

from __future__ import annotations

import numpy as np
import soxr


class Resampler:
    """Streaming sample-rate conversion of (n, channels) float32 blocks, its delay compensated (soxr, HQ)."""

    def __init__(self, rate_in: int, rate_out: int, channels: int):
        same = rate_in == rate_out
        self._channels = channels
        self._stream = None if same else soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32")
        self._seen = self._given = 0

    def process(self, block: np.ndarray) -> np.ndarray:
        """Feed a block of any length; returns (m, channels), m as many samples as are ready."""
        return self._count(block, block if self._stream is None else self._convert(block, last=False))

    def flush(self) -> np.ndarray:
        """The rest; at least one sample in all where any came in. The converter is spent afterwards."""
        nothing = np.zeros((0, self._channels), np.float32)
        out = nothing if self._stream is None else self._convert(nothing, last=True)
        if self._seen and not self._given and not len(out):  # a one-sample recording rounds to nothing
            out = np.zeros((1, self._channels), np.float32)
        return self._count(nothing, out)

    def _convert(self, block: np.ndarray, last: bool) -> np.ndarray:
        assert self._stream is not None
        out = self._stream.resample_chunk(np.ascontiguousarray(block, np.float32), last=last)
        return out.reshape(-1, self._channels)

    def _count(self, block: np.ndarray, out: np.ndarray) -> np.ndarray:
        self._seen += len(block)
        self._given += len(out)
        return out
