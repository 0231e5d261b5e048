"""A session at any sample rate: conversion to the model's rate and back around it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from edge.audio import Resampler
from edge.runtime.lowdelay import LowDelayResampler
from edge.runtime.session import Session

SEEN_SECONDS, SEEN_HOPS = 4, 80

Converter = Callable[[int, int, int], Resampler | LowDelayResampler]  # one of the classes


def at_rate(session: Session, rate: int, block: int | None = None, converter: Converter = Resampler) -> Session:
    """The session as one that takes and gives `rate` Hz: itself where it does so already.

    `block` and `converter` as in `RateConverted`.
    """
    return session if rate == session.sample_rate else RateConverted(session, rate, block, converter)


class RateConverted:
    """A Session at `rate` Hz around one at its model's rate; the same output whatever the blocks that come in.

    `block`: frames that every call of `process` will bring. The converters work in blocks of their own, so the
    latency that is told then is the one of such calls; without, it holds for calls of any size. `converter`: soxr's
    gives what edge-run gives, LowDelayResampler a tenth of its latency.
    """

    def __init__(self, session: Session, rate: int, block: int | None = None, converter: Converter = Resampler):
        self.sample_rate, self.counts = rate, session.counts
        self._converter = converter
        self.shape_in, self.shape_out = session.shape_in, session.shape_out
        self._session, self._block = session, block
        self._start()

    @property
    def hop(self) -> int:
        """Of the session, rounded up."""
        return -(-self._session.hop * self.sample_rate // self._session.sample_rate)

    @property
    def latency_samples(self) -> int:
        """No sample comes later than this many, at `sample_rate`, after its own went in. Measured, once each."""
        session = self._session
        timing = session.sample_rate, session.hop, session.latency_samples
        return _latency(*timing, self.sample_rate, self._block, self._converter)

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (*shape_in, n), n >= 0, to what is ready, float32 (*shape_out, m)."""
        self._received += samples.shape[-1]
        return self._owed(self._up(self._session.process(self._down(samples))))

    def flush(self) -> np.ndarray:
        """The rest, so that as much came out as went in; the session is reset afterwards."""
        lowered = _unfolded(self._lower.flush(), self.shape_in)
        rest = [self._up(self._session.process(lowered)), self._up(self._session.flush())]
        rest.append(_unfolded(self._raise.flush(), self.shape_out))
        out = self._owed(np.concatenate(rest, axis=-1))
        missing = self._received - self._delivered  # converting there and back may round by a few samples
        out = np.concatenate([out, np.zeros((*self.shape_out, missing), np.float32)], axis=-1)
        self._start()
        return out

    def reset(self) -> None:
        """Forget all input."""
        self._session.reset()
        self._start()

    def _start(self) -> None:
        model_rate = self._session.sample_rate
        self._lower = self._converter(self.sample_rate, model_rate, _count(self.shape_in))
        self._raise = self._converter(model_rate, self.sample_rate, _count(self.shape_out))
        self._received = self._delivered = 0

    def _down(self, samples: np.ndarray) -> np.ndarray:
        return _unfolded(self._lower.process(_folded(samples)), self.shape_in)

    def _up(self, samples: np.ndarray) -> np.ndarray:
        return _unfolded(self._raise.process(_folded(samples)), self.shape_out)

    def _owed(self, samples: np.ndarray) -> np.ndarray:
        # only the end can be too long: no output precedes the input that it is made of
        samples = samples[..., : self._received - self._delivered]
        self._delivered += samples.shape[-1]
        return samples


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=int))


def _folded(samples: np.ndarray) -> np.ndarray:
    """(..., n) to (n, all before)."""
    return samples.reshape(_count(samples.shape[:-1]), samples.shape[-1]).T


def _unfolded(block: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return block.T.reshape(*shape, len(block))


@functools.lru_cache(maxsize=64)
def _latency(
    model_rate: int, hop: int, latency: int, rate: int, block: int | None, converter: Converter = Resampler
) -> int:
    """The worst that comes out behind what went in: seen on silence where short hops at a multiple of the rate repeat.

    Else it is the sum of the longest waits: hops and the converters' blocks meet at their worst sooner or later. soxr's
    blocks repeat only nearly: a millisecond is added.
    """
    step = block or max(1, rate // 1000)
    if rate % model_rate or SEEN_SECONDS * model_rate < SEEN_HOPS * hop:
        wait = _longest_wait(rate, model_rate, step, converter) + _longest_wait(model_rate, rate, 16, converter)
        return math.ceil((latency / model_rate + wait) * rate) + (0 if block else step)
    down, up = converter(rate, model_rate, 1), converter(model_rate, rate, 1)
    silence = np.zeros((step, 1), np.float32)
    received = lowered = ready = delivered = worst = 0
    while received < (SEEN_SECONDS + latency / model_rate) * rate:
        received += step
        lowered += len(down.process(silence))
        now = max(0, lowered // hop * hop - (latency - hop))
        delivered += len(up.process(np.zeros((now - ready, 1), np.float32)))
        ready = now
        worst = max(worst, received - delivered)
    return worst + (0 if block else step) + (rate // 1000 if converter is Resampler else 0)


def _longest_wait(source: int, target: int, step: int, converter: Converter) -> float:
    """Seconds that a converter holds a sample back, at most; seen on silence."""
    resampler, zeros = converter(source, target, 1), np.zeros((step, 1), np.float32)
    taken = given = 0
    longest = 0.0
    while taken < SEEN_SECONDS * source:
        taken += step
        longest = max(longest, taken / source - given / target)
        given += len(resampler.process(zeros))
    return longest
