"""Our side of a peer's process: start it, send it audio at any rate, get its output aligned with the input."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from edge import samples
from edge.benchmarks.memory import status_bytes
from edge.benchmarks.peers import protocol
from edge.benchmarks.peers.catalogue import Peer
from edge.benchmarks.peers.install import FOLDER, python_of
from edge.errors import EdgeError

HERE = Path(__file__).parent
MAX_DELAY = 0.2  # seconds in which the delay is looked for


@dataclass(frozen=True)
class Launch:
    """What to start: a Python, an adapter "FILE.py:CLASS" (a name without a folder lies beside this module)."""

    name: str
    python: Path
    adapter: str
    arguments: tuple[str, ...] = ()


def peer_launch(peer: Peer, folder: Path = FOLDER) -> Launch:
    """How to start an installed peer. Raises InputError where it is not installed."""
    return Launch(peer.name, python_of(peer, folder), peer.adapter)


def bundle_launch(name: str, path: Path, backend: str = "") -> Launch:
    """How to start one of our bundles, in this environment."""
    arguments = (str(path.resolve()), backend) if backend else (str(path.resolve()),)
    return Launch(name, Path(sys.executable), "ours.py:BundleAdapter", arguments)


def checkpoint_launch(name: str, path: Path) -> Launch:
    """How to start one of our checkpoints in torch, in this environment."""
    return Launch(name, Path(sys.executable), "ours.py:CheckpointAdapter", (str(path.resolve()),))


class Process:
    """A running peer: `about` is what it says of itself (rate, channels, sources, hop, size_bytes, version...)."""

    def __init__(self, launch: Launch, child: subprocess.Popen[bytes]):
        self.name, self._child = launch.name, child
        self.about: dict[str, Any] = {}
        self.about = self._receive()[0]
        self.delay: int | None = None

    def _receive(self) -> tuple[dict[str, Any], np.ndarray | None]:
        assert self._child.stdout is not None
        try:
            header, audio = protocol.receive(self._child.stdout)
        except (EOFError, OSError, ValueError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=5)
            raise EdgeError(f"{self.name}: its process died (exit code {self._child.returncode})") from error
        if "error" in header:
            raise EdgeError(f"{self.name}: {header['error']}")
        return header, audio

    def ask(self, request: dict[str, Any], audio: np.ndarray | None = None) -> tuple[dict[str, Any], np.ndarray | None]:
        """One request and its answer. Raises EdgeError where the peer fails or dies."""
        assert self._child.stdin is not None
        try:
            protocol.send(self._child.stdin, request, audio)
        except OSError as error:
            raise EdgeError(f"{self.name}: its process died (exit code {self._child.poll()})") from error
        return self._receive()

    def run_raw(self, audio: np.ndarray) -> np.ndarray:
        """float32 (channels, n) at the peer's rate to (sources, channels, m), as the peer gives it."""
        out = self.ask({"op": "run"}, audio)[1]
        assert out is not None
        return out

    def run(self, audio: np.ndarray, rate: int) -> np.ndarray:
        """float32 (channels, n) at `rate` to (sources, channels, n), resampled there and back, delay compensated."""
        if self.delay is None:
            self.delay = self.measure_delay()
        length, own = audio.shape[-1], self.about["rate"]
        inside = resampled(audio, rate, own)
        # a streaming peer's last samples come out only after its delay
        out = self.run_raw(np.pad(inside, ((0, 0), (0, self.delay))))[..., self.delay :]
        out = out[..., : inside.shape[-1]]
        back = resampled(out.reshape(-1, out.shape[-1]), own, rate).reshape(*out.shape[:-1], -1)
        return np.pad(back, [(0, 0)] * (back.ndim - 1) + [(0, max(0, length - back.shape[-1]))])[..., :length]

    def measure_delay(self) -> int:
        """Samples at the peer's rate by which its output lags: the peak of the cross-correlation on clean speech."""
        if self.about["channels"] != 1:
            return 0  # separators take whole recordings, aligned by their own code
        clean = resampled(samples.speech()[1][None, : 6 * 16000], 16000, self.about["rate"])
        return delay_between(clean[0], self.run_raw(clean)[0, 0], round(MAX_DELAY * self.about["rate"]))

    @property
    def latency_seconds(self) -> float | None:
        """What a live use would wait: what the adapter says, or the measured delay plus the hop to collect.

        None where whole recordings are taken and nothing else is known.
        """
        if self.about["latency"] is not None:
            return self.about["latency"] / self.about["rate"]
        if not self.about["hop"]:
            return None
        if self.delay is None:
            self.delay = self.measure_delay()
        return (self.delay + self.about["hop"]) / self.about["rate"]

    def peak_bytes(self) -> int | None:
        """Peak resident memory of the process up to now; None where the system does not tell (not Linux)."""
        return status_bytes("VmHWM", self._child.pid)


@contextlib.contextmanager
def start(launch: Launch, threads: int = 1) -> Iterator[Process]:
    """A running peer, ended on leaving. Raises EdgeError, one line, where it does not start."""
    adapter, name = launch.adapter.rsplit(":", 1)
    command = [str(launch.python), "-P", str(HERE / "worker.py"), f"{HERE / adapter}:{name}", str(threads)]
    limits = {key: str(threads) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    try:
        child = subprocess.Popen(
            [*command, *launch.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | limits,
        )
    except OSError as error:
        raise EdgeError(f"{launch.name}: {launch.python} cannot be started: {error.strerror or error}") from error
    try:
        yield Process(launch, child)
    finally:
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def resampled(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """(channels, n) at another rate, float32."""
    if rate_in == rate_out:
        return np.ascontiguousarray(audio, np.float32)
    return np.ascontiguousarray(soxr.resample(audio.T, rate_in, rate_out).T, np.float32)


def delay_between(reference: np.ndarray, output: np.ndarray, limit: int) -> int:
    """The lag of `output` (n,) behind `reference` (n,) in samples, 0 to `limit`, by cross-correlation."""
    count = min(len(reference), len(output))
    size = 1 << (2 * count - 1).bit_length()
    product = np.fft.rfft(output[:count], size) * np.conj(np.fft.rfft(reference[:count], size))
    return int(np.argmax(np.abs(np.fft.irfft(product, size)[: limit + 1])))
