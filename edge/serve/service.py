"""The model that all clients share: loaded once, run off the event loop, in turn."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from edge.backends import backend_named
from edge.bundle import Bundle
from edge.errors import InputError
from edge.runtime.golden import check_golden
from edge.runtime.graphs import load_graph
from edge.runtime.session import Session, new_session
from edge.runtime.shaping import Shaping, shaped
from edge.serve.protocol import Limits
from edge.serve.site import site_files

T = TypeVar("T")

WINDOW = 10.0  # seconds over which load and RTF are told


class Service:
    """Runs the clients' streams on `threads` threads.

    A client waits for its block before it asks for the next one, and blocks are short and served in the order in
    which they were asked for: so the clients take turns, whatever each of them has sent ahead. A concurrent backend
    (ONNX Runtime) runs several blocks at once, one thread each; another one only one, on all the threads.

    Raises InputError for a bundle that does not enhance or a backend that is not there, EdgeError where the graph
    does not load or fails the golden check. `site`: the files of the page, see edge.serve.site; default: a page that
    leaves the computing to the server.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: str,
        threads: int,
        limits: Limits,
        site: Mapping[str, bytes | Path] | None = None,
    ):
        self._bundle, manifest = bundle, bundle.manifest
        if manifest.task != "enhance":
            raise InputError(f"{bundle.path}: {manifest.name} separates music, which is not served: use edge-run")
        self.manifest, self.backend, self.threads, self.limits = manifest, backend, threads, limits
        concurrent = backend_named(backend).concurrent
        at_once = threads if concurrent else 1
        self.site = site_files([bundle], None, server=True) if site is None else site
        self._graph = load_graph(bundle, backend, 1 if concurrent else threads)
        check_golden(bundle, backend, self._graph)
        self._pool = ThreadPoolExecutor(at_once, "inference")
        self.meter = Meter(at_once)
        self.clients: set[Any] = set()
        self.served = self.dropped = self.refused = 0
        self._started = time.monotonic()

    def open_stream(self, sample_rate: int, shaping: Shaping) -> Session:
        """One client's audio at the client's own rate: what `edge-run` makes of a recording of that rate."""
        return shaped(new_session(self._bundle, self._graph), sample_rate, shaping)

    async def run(self, work: Callable[..., T], *arguments: Any, audio_seconds: float = 0.0) -> T:
        """Call `work(*arguments)` on a thread of the pool, when its turn has come."""

        def timed() -> tuple[T, float]:
            started = time.perf_counter()
            return work(*arguments), time.perf_counter() - started

        result, seconds = await asyncio.get_running_loop().run_in_executor(self._pool, timed)
        self.meter.add(seconds, audio_seconds)
        return result

    def health(self) -> dict[str, Any]:
        """What `GET /health` tells."""
        load, rtf = self.meter.rates()
        manifest = self.manifest
        return {
            "status": "ok",
            "model": manifest.name,
            "precision": manifest.graphs[self.backend].made_in(),
            "backend": self.backend,
            "threads": self.threads,
            "sample_rate": manifest.sample_rate,
            "hop": manifest.hop,
            "latency_samples": manifest.latency_samples,
            "clients": len(self.clients),
            "max_clients": self.limits.clients,
            "served": self.served,
            "refused": self.refused,
            "dropped": self.dropped,
            "audio_seconds": round(self.meter.audio, 3),
            "load": round(load, 4),
            "rtf": None if rtf is None else round(rtf, 4),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
        }

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Meter:
    """How busy the threads were, and the seconds of work per second of audio, over the last ten seconds."""

    def __init__(self, at_once: int):
        self._at_once = at_once
        self._seconds: deque[list[float]] = deque(maxlen=int(WINDOW))  # [second, busy, audio]
        self.audio = 0.0  # seconds, in all

    def add(self, busy: float, audio: float) -> None:
        self.audio += audio
        second = float(int(time.monotonic()))
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0.0, 0.0])
        self._seconds[-1][1] += busy
        self._seconds[-1][2] += audio

    def rates(self) -> tuple[float, float | None]:
        """Load (1 is all threads busy all the time) and RTF, which is None where there was no audio."""
        since = time.monotonic() - WINDOW
        recent = [entry for entry in self._seconds if entry[0] >= since]
        busy, audio = sum(entry[1] for entry in recent), sum(entry[2] for entry in recent)
        return busy / (WINDOW * self._at_once), (busy / audio if audio else None)
