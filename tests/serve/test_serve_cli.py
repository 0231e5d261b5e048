"""edge-serve as a user runs it: in a process of its own."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("websockets")
from serving import COMMAND, Process, RawClient, noise, started
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from edge.serve.client import Client
from edge.serve.protocol import message


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_with_a_close_frame(enhancer_path, number):
    with started(enhancer_path, "--port", 0, "--threads", 1) as server:
        assert "tiny-enhance (onnx, 1 thread(s))" in server.first
        with connect(server.url, proxy=None) as client, socket.create_connection(("127.0.0.1", server.port)):
            stalled = RawClient(server.port)
            client.send(message("hello", protocol=1))
            assert json.loads(client.recv(30))["type"] == "ready"
            began = time.monotonic()
            assert server.stop(number) == (0, "")
            assert time.monotonic() - began < 20
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(30)
            assert closed.value.rcvd.code == 1001 and closed.value.rcvd.reason == "the server stops"
            stalled.socket.close()


def test_a_port_in_use_is_told_in_one_line(enhancer_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run(enhancer_path, "--port", other.getsockname()[1])
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "is in use" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required"),
        (["{b}", "--port", "65536"], "0 to 65535"),
        (["{b}", "--max-clients", "0"], "at least 1"),
        (["{b}", "--host", "no.such.name.invalid"], "--host no.such.name.invalid"),
        (["{b}/nothing"], "nothing"),
    ],
)
def test_bad_use_exits_with_2(enhancer_path, arguments, text):
    done = run(*(argument.format(b=enhancer_path) for argument in arguments))
    assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr


def test_a_separator_is_refused_in_one_line(separator_path):
    done = run(separator_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "edge-run" in done.stderr


def test_without_the_extra_it_says_what_to_install(enhancer_path):
    code = "import sys; sys.modules['websockets'] = None; from edge.cli.serve import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, str(enhancer_path)], capture_output=True, text=True)
    assert done.returncode == 2 and 'pip install "stem-edge[serve]"' in done.stderr and done.stderr.count("\n") == 1


def test_torch_is_never_imported(enhancer_path):
    code = (
        "import sys, threading, os, signal, time\n"
        "from edge.cli.serve import main\n"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "code = main(sys.argv[1:])\n"
        "print([name for name in ('torch', 'executorch', 'onnx') if name in sys.modules], code)"
    )
    command = [sys.executable, "-c", code, str(enhancer_path), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr


def test_it_can_be_reached_from_elsewhere_only_on_request(enhancer_path):
    with started(enhancer_path, "--port", 0) as server:
        assert server.page.startswith("http://127.0.0.1:")
        assert not _listens("127.0.0.2", server.port)
        assert server.stop() == (0, "")
    with started(enhancer_path, "--port", 0, "--host", "0.0.0.0") as server:
        assert _listens("127.0.0.2", server.port)
        code, error = server.stop()
    assert code == 0 and error.count("\n") == 1 and "warning" in error and "other machines" in error


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")
def test_it_connects_to_nobody(enhancer_path):
    """Neither its Python (an audit hook sees every connection made and every name looked up) nor its libraries."""
    code = (
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):\n"
        "        print(event, arguments, file=sys.stderr, flush=True)\n"
        "sys.addaudithook(hook)\n"
        "from edge.cli.serve import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    with started(enhancer_path, "--port", 0, command=[sys.executable, "-c", code]) as server:
        sockets: set[str] = set()
        with Client(server.url) as client:
            for _ in range(5):
                client.enhance(noise(0, 100_000))
                sockets |= _remote_addresses(server.process.pid)
        code, error = server.stop()
    assert sockets == {"127.0.0.1"} and code == 0
    assert {line.split()[0] for line in error.splitlines()} <= {"socket.getaddrinfo"}
    assert all("'127.0.0.1'" in line for line in error.splitlines())


def _remote_addresses(process: int) -> set[str]:
    """Where the process's TCP sockets lead to, IPv4 and IPv6."""
    opened = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            opened.add(os.readlink(descriptor))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in opened and fields[3] != "0A":  # listening
                words = bytes.fromhex(fields[2].split(":")[0])
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.add(str(ipaddress.ip_address(packed)))
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat(enhancer_path):
    """Twenty minutes of audio, clients that come and go, some of them badly."""
    audio = noise(0, 16_000 * 60)

    def work(server: Process, rounds: int) -> int:
        for number in range(rounds):
            with Client(server.url, sample_rate=(16000, 48000)[number % 2]) as client:
                assert len(client.enhance(audio, chunk=16_000)) == len(audio)
            raw = RawClient(server.port)
            raw.socket.sendall(np.float32([1, 2, np.nan]).tobytes() * 100)
            raw.reset()
        return _resident(server.process.pid)

    with started(enhancer_path, "--port", 0) as server:
        jobs = [threading.Thread(target=work, args=(server, 4)) for _ in range(4)]  # warm: arenas, caches, threads
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        before = work(server, 4)
        after = work(server, 12)
        with urllib.request.urlopen(f"{server.page}health") as answer:
            health = json.load(answer)
        assert health["clients"] == 0 and health["audio_seconds"] == pytest.approx(16 * 60 + 16 * 20, abs=1)
    assert after - before < 4 << 20


def _resident(process: int) -> int:
    """Bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_https_with_a_certificate_made_here(enhancer_path, tmp_path, monkeypatch):
    """Pages and streams; the certificate is kept, private, and names this machine."""
    pytest.importorskip("cryptography")
    import ssl
    import urllib.request

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with started(enhancer_path, "--port", 0, "--self-signed") as server:
        assert server.page.startswith("https://127.0.0.1:") and server.url.startswith("wss://")
        folder = tmp_path / "stem-edge"
        assert (folder / "edge-serve.key").stat().st_mode & 0o077 == 0
        trusted = ssl.create_default_context(cafile=folder / "edge-serve.crt")
        with urllib.request.urlopen(server.page, context=trusted, timeout=30) as answer:
            assert b"<title>" in answer.read()
        first = (folder / "edge-serve.crt").read_bytes()
    from edge.serve.secure import self_signed

    cert, key = self_signed()
    assert cert.read_bytes() == first
    done = run(enhancer_path, "--port", "0", "--cert", cert, "--key", enhancer_path / "manifest.json")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "not a certificate and its key" in done.stderr
    done = run(enhancer_path, "--cert", cert)
    assert done.returncode == 2 and "go together" in done.stderr
    assert key.is_file()


def test_places_are_addresses_that_work():
    from edge.serve.secure import places, qr_code

    assert places([("127.0.0.1", 80), ("::1", 80)]) == ["127.0.0.1:80", "[::1]:80"]
    everywhere = places([("0.0.0.0", 8765), ("::", 8765)])
    assert everywhere[-1] == "127.0.0.1:8765" and not any("0.0.0.0" in place or "[::]" in place for place in everywhere)
    pytest.importorskip("segno")
    assert qr_code("https://192.168.1.20:8765/").count("\n") > 10
