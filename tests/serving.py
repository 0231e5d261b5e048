"""A server in a thread of the test's process or in one of its own, and a client that keeps no rules."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("websockets")
from websockets.frames import Frame, Opcode

from edge.bundle import Bundle
from edge.runtime.graphs import load_graph
from edge.runtime.streams import EnhancerStream
from edge.serve.protocol import PATH, Limits, message
from edge.serve.server import listening
from edge.serve.service import Service


class Running:
    """Where a server listens, and what it is."""

    def __init__(self, service: Service, port: int):
        self.service, self.port = service, port
        self.url = f"ws://127.0.0.1:{port}{PATH}"

    def health(self) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=30) as answer:
            return json.load(answer)

    def settle(self, **expected: int) -> None:
        """Wait until health has these values."""
        until = time.monotonic() + 30
        while not expected.items() <= (health := self.health()).items():
            assert time.monotonic() < until, f"{expected} did not come true: {health}"
            time.sleep(0.02)


@contextlib.contextmanager
def serving(bundle: Bundle, limits: Limits | None = None, backend: str = "onnx", threads: int = 2) -> Iterator[Running]:
    """Serve on a free port of 127.0.0.1 within the context."""
    service = Service(bundle, backend, threads, limits or Limits())
    ready: list[Running] = []
    started = threading.Event()
    stops: list[Callable[[], object]] = []

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        async with listening(service, "127.0.0.1", 0) as addresses:
            ready.append(Running(service, addresses[0][1]))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(30)
    try:
        yield ready[0]
    finally:
        stops[0]()
        thread.join(30)
        assert not thread.is_alive(), "the server does not stop"


def offline(bundle: Bundle, audio: np.ndarray, backend: str = "onnx") -> np.ndarray:
    """What a stream of its own makes of the recording."""
    stream = EnhancerStream(bundle.manifest, load_graph(bundle, backend))
    return np.concatenate([stream.process(audio), stream.flush()])


def noise(seed: int, samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


COMMAND = [sys.executable, "-m", "edge.cli.serve"]


class Process:
    """edge-serve in a process of its own; `page` and `url` are what it printed."""

    def __init__(self, *arguments: object, command: list[str] = COMMAND):
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # a test run in the background of a shell ignores SIGINT, and its children would too
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        self.page, self.url = self.process.stdout.readline().split() or ("", "")
        self.port = int(self.url.rpartition(":")[2].split("/")[0])

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and stderr."""
        self.process.send_signal(number)
        _, error = self.process.communicate(timeout=30)
        return self.process.returncode, error


@contextlib.contextmanager
def started(*arguments: object, command: list[str] = COMMAND) -> Iterator[Process]:
    process = Process(*arguments, command=command)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.communicate()


class RawClient:
    """Frames on a plain socket: no answers to pings, no reading that was not asked for."""

    def __init__(self, port: int, hello: bool = True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        assert b" 101 " in answer.splitlines()[0]
        if hello:
            self.send(Opcode.TEXT, message("hello", protocol=1).encode())
            self.socket.recv(4096)

    def send(self, opcode: Opcode, data: bytes, fin: bool = True) -> None:
        self.socket.sendall(frame(opcode, data, fin))

    def closed(self) -> bool:
        """Read to the end."""
        try:
            while self.socket.recv(1 << 20):
                continue
        except ConnectionError:
            return True
        return True

    def reset(self) -> None:
        """Vanish: a reset instead of a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


def frame(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)
