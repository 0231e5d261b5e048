"""Sample-rate conversion for live audio: a short filter in place of soxr's blocks, which wait for 20 to 100 ms."""

from __future__ import annotations

import math

import numpy as np

HALF = 32  # of the filter's length, in samples of the lower rate: 2 ms at 16 kHz
CUTOFF = 0.935  # of the lower rate's Nyquist frequency: flat to 0.87, 70 dB down from 1.0 on
BETA = 6.76  # Kaiser's window for 70 dB
MAX_PHASES = 4096  # beyond, the nearest is taken: an error below -70 dB


class LowDelayResampler:
    """Streaming conversion of (n, channels) float32 blocks, its delay compensated: a polyphase Kaiser-windowed sinc.

    An output sample waits for `delay` seconds of input behind its own time, whatever the blocks.
    """

    _line: np.ndarray  # the input from index `_first` on
    _received: int
    _emitted: int

    def __init__(self, rate_in: int, rate_out: int, channels: int):
        divisor = math.gcd(rate_in, rate_out)
        self._up, self._down = rate_out // divisor, rate_in // divisor  # sample k lies at input position k * down / up
        self._same, self._channels = rate_in == rate_out, channels
        low = min(rate_in, rate_out)
        self._reach = 0 if self._same else math.ceil(HALF * rate_in / low)
        self.delay = self._reach / rate_in
        phases = min(self._up, MAX_PHASES)
        offsets = np.arange(2 * self._reach) - (self._reach - 1)
        times = (offsets - np.arange(phases)[:, None] / phases) * (low / rate_in)
        inside = np.clip(1 - (times / HALF) ** 2, 0, None)
        window = np.i0(BETA * np.sqrt(inside)) / np.i0(BETA) * (np.abs(times) < HALF)
        self._taps = (CUTOFF * np.sinc(CUTOFF * times) * window * (low / rate_in)).astype(np.float32)
        self._start()

    def process(self, block: np.ndarray) -> np.ndarray:
        """Feed a block of any length; returns (m, channels), m as many samples as are ready."""
        if self._same:
            return block
        self._line = np.concatenate([self._line, block])
        self._received += len(block)
        return self._convert(-(-(self._received - self._reach) * self._up // self._down))

    def flush(self) -> np.ndarray:
        """The rest; at least one sample in all where any came in. The converter starts afresh afterwards."""
        if self._same:
            return np.zeros((0, self._channels), np.float32)
        received = self._received
        self._line = np.concatenate([self._line, np.zeros((2 * self._reach + self._down, self._channels), np.float32)])
        out = self._convert(max(min(received, 1), round(received * self._up / self._down)))
        self._start()
        return out

    def _start(self) -> None:
        before = max(0, self._reach - 1)
        self._line = np.zeros((before, self._channels), np.float32)
        self._first = -before
        self._received = self._emitted = 0

    def _convert(self, total: int) -> np.ndarray:
        """Output samples up to the `total`th."""
        if total <= self._emitted:
            return np.zeros((0, self._channels), np.float32)
        places = np.arange(self._emitted, total, dtype=np.int64) * self._down
        base, phase = places // self._up, places % self._up
        if len(self._taps) < self._up:
            phase = phase * len(self._taps) // self._up
        starts = base - (self._reach - 1) - self._first
        windows = np.lib.stride_tricks.sliding_window_view(self._line, 2 * self._reach, axis=0)[starts]
        # in double, so that the order of additions does not show in the float
        out = np.einsum("nct,nt->nc", windows, self._taps[phase], dtype=np.float64, optimize=False)
        self._emitted = total
        drop = int(total * self._down // self._up) - (self._reach - 1) - self._first
        if drop > 0:
            self._line = self._line[drop:]
            self._first += drop
        return out.astype(np.float32, copy=False)
