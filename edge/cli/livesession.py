"""Sessions for live use, and whether this machine runs them in time."""

from __future__ import annotations

import sys
import time

import numpy as np

from edge.audio import AudioReader
from edge.bundle import Bundle
from edge.errors import InputError
from edge.runtime.chain import statistics_of
from edge.runtime.graphs import LoadedGraph
from edge.runtime.session import Session, new_session

DEFAULT_LATENCY = 1.0  # seconds, of separation from a device
TIGHT_RTF = 0.7


def live_session(bundle: Bundle, graph: LoadedGraph, latency: float | None, reader: AudioReader | None) -> Session:
    """For a device's audio, or for a whole file's; latency in seconds, of separation (default: DEFAULT_LATENCY)."""
    separates = bundle.manifest.task == "separate"
    if reader is not None and separates and latency is None:
        statistics = statistics_of(reader, bundle.manifest.sample_rate, bundle.manifest.channels)
        return new_session(bundle, graph, statistics=statistics, consistent=True)
    if separates and latency is None:
        assert bundle.manifest.segment is not None
        latency = min(DEFAULT_LATENCY, bundle.manifest.segment / bundle.manifest.sample_rate)
    return new_session(bundle, graph, latency, consistent=separates)


def warm_up(session: Session) -> None:
    """The first inference takes longer than all others; the session is reset."""
    session.process(_noise(session, session.latency_samples))
    session.reset()


def _time_hops(session: Session, hops: int) -> list[float]:
    """Seconds of each of `hops` inferences on noise; the session is reset."""
    seconds, noise = [], _noise(session, session.hop)
    for _ in range(hops):
        started = time.perf_counter()
        session.process(noise)
        seconds.append(time.perf_counter() - started)
    session.reset()
    return seconds


def _noise(session: Session, samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((*session.shape_in, samples), dtype=np.float32)


def compute_frames(session: Session, rate: int) -> int:
    """Device frames that one inference of low-latency separation may take: half as much again as measured here."""
    seconds = float(np.median(_time_hops(session, 4)[1:]))
    hop = session.hop / session.sample_rate
    rtf = seconds / hop
    advice = f"an inference takes {seconds:.2f} s on this machine and one is due every {hop:.2f} s (RTF {rtf:.2f})"
    if rtf >= 1:
        latency = session.latency_samples / session.sample_rate
        raise InputError(
            f"{latency:g} s of latency cannot be real time: {advice}; try --latency {1.5 * latency * rtf:.1f}, or "
            "--threads, or a more compressed model"
        )
    if rtf > TIGHT_RTF:
        print(f"warning: {advice}: expect late hops", file=sys.stderr)
    return round(min(hop, 1.5 * seconds) * rate)
