"""What is done to an enhancer's result: the band above the model's is kept, and the strength is limited."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.runtime.converted import RateConverted, at_rate
from edge.runtime.guard import MAX_SAMPLE
from edge.runtime.session import Session

_SMOOTHING = 0.5  # of the energies, from one hop to the next
_TINY = 1e-12  # energy of a hop: below it there is nothing to compare


@dataclass(frozen=True)
class Shaping:
    """full_band: keep what lies above the model's band. atten_limit: the most that is taken away, dB; None: all."""

    full_band: bool = False
    atten_limit: float | None = None


def shaped(session: Session, rate: int, shaping: Shaping, block: int | None = None) -> Session:
    """The session at `rate` Hz, with `shaping` where it enhances; `block` as in `at_rate`."""
    enhances = session.shape_in == ()
    if enhances and shaping.full_band and rate > session.sample_rate:
        session = FullBand(session, rate, block)
    else:
        session = at_rate(session, rate, block)
    return session if shaping.atten_limit is None else Attenuated(session, shaping.atten_limit)


class Attenuated:
    """A session whose result is mixed with its input: nothing falls by more than `limit` dB; 0 is the input itself.

    None: no limit. A limit that changes fades within the samples of one call.
    """

    def __init__(self, session: Session, limit: float | None):
        self._session = session
        self.sample_rate, self.counts = session.sample_rate, session.counts
        self.shape_in, self.shape_out = session.shape_in, session.shape_out
        self.set_limit(limit)
        self._was = self._dry
        self._waiting = np.zeros((*session.shape_in, 0), np.float32)

    def set_limit(self, limit: float | None) -> None:
        """From the next call on; safe from another thread."""
        self._dry = np.float32(0 if limit is None else 10 ** (-limit / 20))

    @property
    def hop(self) -> int:
        return self._session.hop

    @property
    def latency_samples(self) -> int:
        return self._session.latency_samples

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (*shape_in, n), n >= 0, to what is ready."""
        self._waiting = np.concatenate([self._waiting, audible(samples)], axis=-1)
        return self._mixed(self._session.process(samples))

    def flush(self) -> np.ndarray:
        """The rest; the session is reset afterwards."""
        out = self._mixed(self._session.flush())
        self.reset()
        return out

    def reset(self) -> None:
        """Forget all input."""
        self._session.reset()
        self._waiting = self._waiting[..., :0]

    def _mixed(self, wet: np.ndarray) -> np.ndarray:
        count = wet.shape[-1]
        dry, self._waiting = self._waiting[..., :count], self._waiting[..., count:]
        was, now = self._was, self._dry
        if was != now and count:
            share = np.linspace(was, now, count, dtype=np.float32)
            self._was = now
            return share * dry + (1 - share) * wet
        if now in (0, 1):  # exactly, whatever the other holds
            return (dry if now else wet).copy()
        return now * dry + (1 - now) * wet


class FullBand(RateConverted):
    """An enhancer's session at a higher rate that keeps the band above the model's.

    What conversion to the model's rate takes away is added again, aligned, under the gain that the model gave to the
    upper part of its own band, hop by hop. Three signals share one converter: the result, the model's input, and the
    gain less 1, so all are delayed alike.
    """

    def _start(self) -> None:
        super()._start()
        self._raise = self._converter(self._session.sample_rate, self.sample_rate, 3)
        hop, latency = self._session.hop, self._session.latency_samples
        self._gain = HopGain(hop, hop - (latency - hop) % hop)
        self._lowered = np.zeros(0, np.float32)  # the model's input that has no gain yet
        self._result = np.zeros(0, np.float32)  # the same of its result, less than a hop
        self._input = np.zeros(0, np.float32)  # at `sample_rate`, the same

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n,), n >= 0, to what is ready, float32 (m,)."""
        self._received += samples.shape[-1]
        samples = audible(samples)
        self._input = np.concatenate([self._input, samples])
        return self._banded(self._raise.process(self._model(self._down(samples))))

    def flush(self) -> np.ndarray:
        """The rest; the session is reset afterwards."""
        parts = [self._model(self._lower.flush()[:, 0]), self._beside(self._session.flush(), last=True)]
        raised = [self._raise.process(np.concatenate(parts)), self._raise.flush()]
        out = self._banded(np.concatenate(raised))
        # converting there and back may round by a few samples
        out = np.concatenate([out, np.zeros(self._received - self._delivered, np.float32)])
        self._start()
        return out

    def _model(self, lowered: np.ndarray) -> np.ndarray:
        self._lowered = np.concatenate([self._lowered, lowered])
        return self._beside(self._session.process(lowered))

    def _beside(self, result: np.ndarray, last: bool = False) -> np.ndarray:
        """To (n, 3), of whole hops: the result, the model's input of the same moment, and the gain less 1."""
        self._result = np.concatenate([self._result, result])
        count = len(self._result) if last else self._gain.whole(len(self._result))
        ready, self._result = self._result[:count], self._result[count:]
        given, self._lowered = self._lowered[:count], self._lowered[count:]
        return np.stack([ready, given, self._gain.process(given, ready)], axis=1)

    def _banded(self, raised: np.ndarray) -> np.ndarray:
        raised = raised[: len(self._input)]
        given, self._input = self._input[: len(raised)], self._input[len(raised) :]
        gain = np.clip(1 + raised[:, 2], 0, 1)
        return self._owed(raised[:, 0] + gain * (given - raised[:, 1]))


class HopGain:
    """The gain less 1 that an enhancer gave to the upper part of its band, as a line from hop to hop.

    Both sides are weighted by (1, -2, 1) / 4, which leaves the top of the band, and their energies are smoothed.
    """

    def __init__(self, hop: int, first: int):
        """`first`: samples up to the end of the first hop."""
        self._hop, self._left = hop, first
        self._tails = np.zeros((2, 2), np.float32)
        self._energies = np.zeros(2)
        self._last = 0.0

    def whole(self, count: int) -> int:
        """How many of `count` samples are in hops that are complete."""
        return 0 if count < self._left else self._left + (count - self._left) // self._hop * self._hop

    def process(self, given: np.ndarray, result: np.ndarray) -> np.ndarray:
        """float32 (n,) of each, whole hops unless it is the end, to float32 (n,)."""
        out, start = np.empty(len(given), np.float32), 0
        while start < len(given):
            count = min(self._left, len(given) - start)
            part = slice(start, start + count)
            now = self._next(np.stack([given[part], result[part]]))
            out[part] = self._last + (now - self._last) * np.arange(1, count + 1, dtype=np.float32) / count
            self._last, self._left = now, self._left - count or self._hop
            start += count
        return out

    def _next(self, pair: np.ndarray) -> float:
        wide = np.concatenate([self._tails, pair], axis=1)
        self._tails = wide[:, -2:]
        high = (wide[:, 2:] - 2 * wide[:, 1:-1] + wide[:, :-2]) / 4
        energies = np.einsum("sn,sn->s", high, high, dtype=np.float64)
        self._energies = _SMOOTHING * self._energies + (1 - _SMOOTHING) * energies
        before, after = self._energies
        return 0.0 if before < _TINY else min(1.0, float(np.sqrt(after / before))) - 1


def audible(samples: np.ndarray) -> np.ndarray:
    """The samples, with 0 for what no audio has: the model's guard takes it for 0 too."""
    good = np.abs(samples) < MAX_SAMPLE
    return samples if good.all() else np.where(good, samples, np.float32(0))
