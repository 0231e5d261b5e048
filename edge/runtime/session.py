"""One contract for both tasks and both backends: any number of samples in, what is ready out.

A session has two time bases. In the file form (`Session`) the output, concatenated, is aligned with the input and as
long. In the live form (`Live`) each block of n samples gives n samples, `latency_samples` later.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edge.bundle import Bundle
from edge.errors import InputError
from edge.native.session import NativeGraph
from edge.runtime.graphs import LoadedGraph, load_graph
from edge.runtime.guard import Counts
from edge.runtime.lowlatency import LowLatencySeparator, latency_plan
from edge.runtime.streams import EnhancerStream, Separator, Statistics


class Session(Protocol):
    """Audio is float32 with time last: enhance (n,) -> (m,), separate (channels, n) -> (sources, channels, m)."""

    sample_rate: int  # Hz
    counts: Counts

    @property
    def shape_in(self) -> tuple[int, ...]:
        """Of the input before its time axis: () or (channels,)."""
        ...

    @property
    def shape_out(self) -> tuple[int, ...]:
        """Of the output before its time axis: () or (sources, channels)."""
        ...

    @property
    def hop(self) -> int:
        """Samples from one inference to the next."""
        ...

    @property
    def latency_samples(self) -> int:
        """No sample comes later than this many after its own went in."""
        ...

    def process(self, samples: np.ndarray, /) -> np.ndarray:
        """Any n >= 0 to what is ready."""
        ...

    def flush(self) -> np.ndarray:
        """The rest, so that as much came out as went in; the session is reset afterwards."""
        ...

    def reset(self) -> None:
        """Forget all input."""
        ...


def open_session(
    bundle: Bundle,
    backend: str,
    threads: int = 1,
    latency: float | None = None,
    statistics: Statistics | None = None,
    consistent: bool = False,
) -> Session:
    """Load a bundle's graph and make one session on it; see `new_session` for more of them on one graph."""
    return new_session(bundle, load_graph(bundle, backend, threads), latency, statistics, consistent)


def new_session(
    bundle: Bundle,
    graph: LoadedGraph | NativeGraph,
    latency: float | None = None,
    statistics: Statistics | None = None,
    consistent: bool = False,
) -> Session:
    """A session on a loaded graph, which any number of sessions can share.

    For separation: with the `statistics` of the whole recording, the apply loop of demucs; otherwise a stream with
    running normalisation and `latency` seconds (default: the model's segment). `consistent`: the stems' sum is the
    mix. Raises InputError for a latency that the task or the model does not have.
    """
    manifest = bundle.manifest
    if manifest.task == "enhance" and latency is not None:
        fixed = 1000 * manifest.latency_samples / manifest.sample_rate
        raise InputError(
            f"{bundle.path}: the latency of an enhancer is fixed ({fixed:g} ms); only separation's can be chosen"
        )
    if isinstance(graph, NativeGraph):
        whole = None if statistics is None else (statistics.mean, statistics.std)
        return graph.new_session(latency, whole, consistent)
    if manifest.task == "enhance":
        return EnhancerStream(manifest, graph)
    if statistics is not None:
        return Separator(manifest, graph, statistics.mean, statistics.std, consistent)
    return LowLatencySeparator(manifest, graph, latency_plan(manifest, latency), consistent)


class Live:
    """The live form of a session: `process` gives as many samples as it gets, `latency_samples` after their own.

    The first `latency_samples` that come out are zeros. Whatever the block sizes, the audio is the same.
    """

    def __init__(self, session: Session):
        self._session = session
        self.sample_rate = session.sample_rate
        self.latency_samples = session.latency_samples
        self._lead = session.shape_out
        # A chunk of at most `latency` samples makes at most two latencies ready.
        self._queue = np.zeros((*self._lead, 4 * self.latency_samples), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all input."""
        self._session.reset()
        self._queue[..., : self.latency_samples] = 0
        self._start, self._end = 0, self.latency_samples  # of what is queued

    def process(self, samples: np.ndarray) -> np.ndarray:
        """float32 (..., n), n >= 0, to float32 (..., n), the caller's own."""
        count, step = samples.shape[-1], self.latency_samples
        out = np.empty((*self._lead, count), np.float32)
        for start in range(0, count, step):
            self._push(self._session.process(samples[..., start : start + step]))
            part = out[..., start : start + step]
            part[...] = self._queue[..., self._start : self._start + part.shape[-1]]
            self._start += part.shape[-1]
        return out

    def flush(self) -> np.ndarray:
        """The last `latency_samples` samples; the session is reset afterwards."""
        out = np.concatenate([self._queue[..., self._start : self._end], self._session.flush()], axis=-1)
        self.reset()
        return out

    def _push(self, ready: np.ndarray) -> None:
        count = ready.shape[-1]
        if self._end + count > self._queue.shape[-1]:
            queued = self._end - self._start
            self._queue[..., :queued] = self._queue[..., self._start : self._end].copy()
            self._start, self._end = 0, queued
        self._queue[..., self._end : self._end + count] = ready
        self._end += count
