"""Clients that do everything wrong, beside one that must not notice."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

pytest.importorskip("websockets")
from serving import RawClient, frame, noise, offline, serving
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode
from websockets.sync.client import connect

from edge.serve.client import Client
from edge.serve.pages import host_allowed, origin_allowed
from edge.serve.protocol import PATH, Limits, message

STRICT = Limits(
    message_bytes=1 << 18, open_seconds=1, hello_seconds=1, ping_seconds=0.5, idle_seconds=1.5, stall_seconds=3
)


@pytest.fixture(scope="module")
def server(request):
    with serving(request.getfixturevalue("enhancer_bundle"), STRICT) as running:
        yield running


def hello_only_tcp(server):
    with socket.create_connection(("127.0.0.1", server.port)) as quiet:
        time.sleep(0.5)
        quiet.close()


def no_hello(server):
    with connect(server.url, proxy=None) as client:
        event = json.loads(client.recv(30))
        assert "no hello within" in event["message"]


def silent(server):
    """Answers pings, but never says anything."""
    with connect(server.url, proxy=None) as client:
        client.send(message("hello", protocol=1))
        assert json.loads(client.recv(30))["type"] == "ready"
        assert "no message for" in json.loads(client.recv(30))["message"]


def frozen(server):
    """Does not even answer pings."""
    raw = RawClient(server.port)
    before = server.health()["dropped"]
    while server.health()["dropped"] == before:
        time.sleep(0.1)
    raw.closed()


def not_reading(server):
    """Sends for ever, reads nothing; the server stops reading it, then drops it."""
    raw = RawClient(server.port)
    raw.socket.settimeout(20)
    data = frame(Opcode.BINARY, bytes(100_000))
    with pytest.raises(ConnectionError):
        while True:
            raw.socket.sendall(data)


def pinging(server):
    """Makes the server write answers that are not read."""
    raw = RawClient(server.port)
    data = frame(Opcode.PING, bytes(125)) * 1000
    with pytest.raises(ConnectionError):
        while True:
            raw.socket.sendall(data)


def pinging_and_reading(server):
    raw = RawClient(server.port)
    reader = threading.Thread(target=raw.closed)
    reader.start()
    with pytest.raises(ConnectionError):
        while True:
            raw.socket.sendall(frame(Opcode.PING, b"") * 1000)
    reader.join(30)


def fragments(server):
    """A message that never ends, of fragments that hold nothing."""
    raw = RawClient(server.port)
    raw.send(Opcode.BINARY, b"", fin=False)
    data = frame(Opcode.CONT, b"", fin=False) * 1000
    with pytest.raises(ConnectionError):
        while True:
            raw.socket.sendall(data)


def huge_frames(server):
    for _ in range(5):
        raw = RawClient(server.port)
        raw.socket.sendall(b"\x82\xff" + (1 << 33).to_bytes(8, "big") + bytes(4))
        raw.closed()


def broken_frames(server):
    rng = np.random.default_rng(0)
    for seed in range(10):
        raw = RawClient(server.port, hello=seed % 2 == 0)
        try:
            raw.socket.sendall(rng.bytes(20_000))
        except ConnectionError:
            continue
        finally:
            raw.reset()


def random_samples(server):
    rng = np.random.default_rng(1)
    for _ in range(10):
        with connect(server.url, proxy=None) as client:
            client.send(message("hello", protocol=1, format="f32le"))
            client.send(rng.bytes(4000))  # somewhere in it is a NaN
            while isinstance(received := client.recv(30), bytes) or "ready" in received:
                continue
            assert json.loads(received)["type"] == "error"


def vanishing(server):
    for _ in range(10):
        raw = RawClient(server.port)
        raw.send(Opcode.BINARY, noise(0, 20_000).tobytes())
        raw.reset()


def leaving_within_a_frame(server):
    for _ in range(10):
        raw = RawClient(server.port)
        raw.socket.sendall(frame(Opcode.BINARY, bytes(1000))[:500])
        raw.socket.close()


def tiny_messages(server):
    raw = RawClient(server.port)
    raw.socket.sendall(frame(Opcode.BINARY, b"") * 5000 + frame(Opcode.BINARY, b"\0") * 5000)
    raw.reset()


def no_http(server):
    requests = [b"\x16\x03\x01\x02\x00\x01\x00" * 50, b"\0" * 70_000]  # TLS, and nothing at all
    requests += [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n"]
    requests.append(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n")
    requests.append(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n")
    for request in requests:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
            try:
                raw.sendall(request)
                answer = raw.recv(4096)
            except ConnectionError:
                continue
            assert not answer or answer.startswith(b"HTTP/1.1 4")


def many_connections(server):
    """They say nothing; who comes after them gets in all the same."""
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(400)]
    with Client(server.url) as client:
        assert len(client.enhance(noise(0, 99))) == 99
    for each in sockets:
        each.close()


BEHAVIOURS = [
    hello_only_tcp,
    no_hello,
    silent,
    frozen,
    not_reading,
    pinging,
    pinging_and_reading,
    fragments,
    huge_frames,
    broken_frames,
    random_samples,
    vanishing,
    leaving_within_a_frame,
    tiny_messages,
    no_http,
    many_connections,
]


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: each.__name__)
def test_nobody_else_notices(server, enhancer_bundle, behaviour, capfd):
    audio = noise(5, 16_000)
    expected = offline(enhancer_bundle, audio)
    stop = threading.Event()
    rounds = []

    def neighbour():
        with Client(server.url) as client:
            while not (stop.is_set() and rounds):
                rounds.append(np.array_equal(client.enhance(audio, chunk=160), expected))

    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        behaviour(server)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive() and rounds and all(rounds)
    server.settle(clients=0)
    assert capfd.readouterr().err == ""


def get(server, path="/", **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "x@127.0.0.1", "", "[::"]
)
def test_names_that_were_bent_to_this_machine_are_refused(server, host):
    for path in ("/", "/health", "/app.js", PATH):
        assert get(server, path, Host=host.format(port=server.port))[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "[::1]:1", "127.0.0.9"])
def test_its_own_names_are_not(server, host):
    assert get(server, "/health", Host=host.format(port=server.port))[0] == 200


def test_foreign_pages_are_refused(server):
    own = f"http://127.0.0.1:{server.port}"
    foreign = [
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{server.port + 1}",
        f"http://localhost:{server.port}",
        "file://",
    ]
    for origin in foreign:
        assert get(server, "/health", Origin=origin)[0] == 403
        with pytest.raises(InvalidStatus, match="403"), connect(server.url, origin=origin, proxy=None):
            pass
    assert get(server, "/health", Origin=own)[0] == 200
    with connect(server.url, origin=own, proxy=None) as client:
        client.send(message("hello", protocol=1))
        assert json.loads(client.recv(30))["type"] == "ready"


def test_names_of_a_server_that_others_may_reach():
    for host in ("192.168.1.5:8765", "[fe80::1]:8765", "localhost", "BOX.lan:1", socket.gethostname()):
        assert host_allowed(host, "box.lan", loopback=False)
    for host in ("evil.example", f"{socket.gethostname()}.evil.example", "box.lan.evil.example", "1.2.3.4.5"):
        assert not host_allowed(host, "box.lan", loopback=False)
    for host in ("192.168.1.5:8765", "box.lan", socket.gethostname() + ".", "0x7f.1", "2130706433"):
        assert not host_allowed(host, "127.0.0.1", loopback=True)
    assert origin_allowed([], "a:1") and origin_allowed(["http://a:1"], "A:1") and origin_allowed(["https://a"], "a")
    assert not origin_allowed(["http://a:1", "http://a:1"], "a:1") and not origin_allowed([""], "a")


def test_pages_allow_nothing_from_elsewhere(server):
    for path, type in (("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")):
        status, headers, body = get(server, path)
        assert status == 200 and headers["Content-Type"] == f"{type}; charset=utf-8" and len(body) > 100
        policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
        assert policy["style-src"] == policy["connect-src"] == policy["worker-src"] == "'self'"
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"  # WebAssembly computes in the browser; no eval
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"https://" not in body and body.count(b"http://") == body.count(b"http://www.w3.org/2000/svg")
    for path in ("/nothing", "/server.py", "/../server.py", "/..%2fserver.py", "//app.js", "/__init__.py"):
        assert get(server, path)[0] == 404
    assert get(server, PATH)[0] == 426
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/health", method="DELETE")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(request, timeout=30)


def test_it_listens_on_loopback_only(server):
    assert _reachable("127.0.0.1", server.port)
    others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None) if ":" not in entry[4][0]}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: asks for the address that would be used
        others.add(probe.getsockname()[0])
    for address in {*others, "127.0.0.2"} - {"127.0.0.1"}:
        assert not _reachable(address, server.port)


def _reachable(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True
