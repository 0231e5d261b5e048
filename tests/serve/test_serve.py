"""edge-serve: what its clients get, each of them and all at once."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("websockets")
from serving import RawClient, noise, offline, serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from edge.errors import EdgeError, InputError
from edge.runtime.chain import ChainOptions
from edge.runtime.files import FileOptions, run_file
from edge.runtime.shaping import Shaping
from edge.serve.client import Client
from edge.serve.protocol import Limits, PcmDecoder, encode_pcm, message
from edge.serve.service import Service


@pytest.fixture(scope="module")
def server(request):
    with serving(request.getfixturevalue("enhancer_bundle")) as running:
        yield running


def together(jobs) -> None:
    """Run them in threads; the first failure is raised."""
    failures = []

    def guarded(job):
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("backend", ["onnx", "executorch"])
def test_twenty_clients_at_once_get_each_its_own_result(both_enhancer_path, backend):
    from edge.bundle import open_bundle

    bundle = open_bundle(both_enhancer_path)
    recordings = [noise(seed, 16_000 + 777 * seed) for seed in range(20)]
    results: dict[int, np.ndarray] = {}
    gate = threading.Barrier(20)

    with serving(bundle, backend=backend) as running:

        def client(number):
            with Client(running.url) as connection:
                gate.wait(60)
                results[number] = connection.enhance(recordings[number], chunk=1 + 97 * number)

        together([lambda n=n: client(n) for n in range(20)])
        running.settle(clients=0)
        health = running.health()
    for number, recording in enumerate(recordings):
        np.testing.assert_array_equal(results[number], offline(bundle, recording, backend))
    assert health["served"] == 20 and health["refused"] == health["dropped"] == 0
    assert health["audio_seconds"] == pytest.approx(sum(map(len, recordings)) / 16000, abs=0.01)


def test_what_is_ready_comes_without_a_flush(server, enhancer_bundle):
    manifest = enhancer_bundle.manifest
    audio = noise(1, 20 * manifest.hop)
    with Client(server.url) as client:
        assert client.ready["model"] == "tiny-enhance" and client.ready["hop"] == manifest.hop
        assert client.sample_rate == 16000 and client.latency_samples == manifest.latency_samples
        got = np.zeros(0, np.float32)
        for start in range(0, len(audio), 100):
            client.send(audio[start : start + 100])
            while len(got) < max(0, min(start + 100, len(audio)) - client.latency_samples):
                got = np.concatenate([got, client.receive()])
        client.flush()
        got = np.concatenate([got, *client.blocks()])
    np.testing.assert_array_equal(got, offline(enhancer_bundle, audio))


def test_flush_and_reset_begin_anew(server, enhancer_bundle):
    first, second = noise(2, 5000), noise(3, 7001)
    with Client(server.url) as client:
        client.send(second[:999])
        client.reset()
        for audio in (first, second, first[:1], first[:0]):
            np.testing.assert_array_equal(client.enhance(audio), offline(enhancer_bundle, audio))


@pytest.mark.parametrize("format", ["f32le", "s16le"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_samples_may_be_cut_anywhere(format, data):
    audio = noise(data.draw(st.integers(0, 9)), data.draw(st.integers(0, 300)))
    raw = encode_pcm(audio, format)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    decoder = PcmDecoder(format)
    pieces = [decoder.decode(raw[a:b]) for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    decoder.finish()
    tolerance = 0 if format == "f32le" else 0.5 / 32768
    np.testing.assert_allclose(np.concatenate(pieces), audio, rtol=0, atol=tolerance)


def test_s16le_is_rounded_and_clipped():
    raw = encode_pcm(np.float32([0, 1, -1, 2, -2, 0.4 / 32768, 0.6 / 32768]), "s16le")
    assert np.frombuffer(raw, "<i2").tolist() == [0, 32767, -32768, 32767, -32768, 0, 1]


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
@pytest.mark.parametrize("shaping", [Shaping(True), Shaping(False), Shaping(True, 12.0), Shaping(False, 6)])
def test_a_client_of_any_rate_gets_what_edge_run_writes(enhancer_bundle, server, tmp_path, rate, shaping):
    audio = noise(rate, rate + 321)
    soundfile.write(tmp_path / "in.wav", audio, rate, "FLOAT")
    options = FileOptions(chain=ChainOptions(shaping=shaping))
    run_file(enhancer_bundle, tmp_path / "in.wav", tmp_path / "out.wav", "onnx", options=options)
    expected, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    with Client(server.url, sample_rate=rate, shaping=shaping) as client:
        assert client.ready["band"] == ("full" if shaping.full_band else "model")
        assert client.ready["atten_limit"] == shaping.atten_limit
        enhanced = client.enhance(audio, chunk=rate // 90)
    assert len(enhanced) == len(audio)
    np.testing.assert_array_equal(enhanced, expected)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_limit_of_0_db_gives_the_input_back(server, rate):
    audio = noise(3, rate)
    with Client(server.url, sample_rate=rate, shaping=Shaping(True, 0.0)) as client:
        np.testing.assert_array_equal(client.enhance(audio), audio)


def test_clients_take_turns(enhancer_bundle):
    order = []

    async def client(name, service):
        for _ in range(20):
            await service.run(order.append, name)

    async def all_clients():
        service = Service(enhancer_bundle, "onnx", 1, Limits())
        await asyncio.gather(*(client(name, service) for name in "abc"))
        service.close()

    asyncio.run(all_clients())
    assert order == list("abc") * 20


def test_one_long_message_is_computed_in_turns(enhancer_bundle):
    with serving(enhancer_bundle, threads=1) as running:
        longest = 0
        run = running.service.run

        async def watched(work, *arguments, audio_seconds=0.0):
            nonlocal longest
            longest = max(longest, audio_seconds)
            return await run(work, *arguments, audio_seconds=audio_seconds)

        running.service.run = watched
        with Client(running.url) as client:
            client.enhance(noise(0, 100_000), chunk=100_000)
        assert 0 < longest <= 0.1


def test_a_slow_reader_loses_nothing(enhancer_bundle):
    audio = noise(4, 400_000)  # more than all buffers on the way hold
    with serving(enhancer_bundle, Limits(unsent_bytes=4096)) as running, Client(running.url) as client:
        feeder = threading.Thread(target=lambda: (client.send(audio), client.flush()))
        feeder.start()
        time.sleep(1)  # the server is stopped by our not reading
        ahead = running.health()["audio_seconds"]
        got = np.concatenate(list(client.blocks()))
        feeder.join(30)
    assert ahead < len(audio) / 16000
    np.testing.assert_array_equal(got, offline(enhancer_bundle, audio))


def test_no_more_clients_than_agreed(enhancer_bundle):
    with serving(enhancer_bundle, Limits(clients=2)) as running:
        with Client(running.url) as first, Client(running.url):
            with pytest.raises(EdgeError, match="503"):
                Client(running.url)
            assert running.health()["clients"] == 2
            np.testing.assert_array_equal(first.enhance(noise(0, 999)), offline(enhancer_bundle, noise(0, 999)))
        running.settle(clients=0, refused=1)
        with Client(running.url) as again:
            assert len(again.enhance(noise(0, 99))) == 99


def test_a_separator_is_refused(separator_bundle):
    with pytest.raises(InputError, match="separates music"):
        Service(separator_bundle, "onnx", 1, Limits())


def test_health(server):
    health = server.health()
    assert health["status"] == "ok" and health["model"] == "tiny-enhance" and health["backend"] == "onnx"
    with Client(server.url) as client:
        client.enhance(noise(0, 32_000))
        assert server.health()["clients"] == health["clients"] + 1
        assert server.health()["rtf"] > 0 and 0 < server.health()["load"] <= 1
    server.settle(clients=0)


HELLOS = [
    (b"\0\1\2", "hello"),
    ("hello", "hello"),
    ("[1]", "hello"),
    ("[" * 4000, "hello"),
    ('{"type": "flush"}', "hello"),
    ('{"type": "hello"}', "protocol null"),
    ('{"type": "hello", "protocol": 2}', "protocol 2"),
    ('{"type": "hello", "protocol": 1, "format": "mp3"}', "mp3"),
    ('{"type": "hello", "protocol": 1, "format": ["f32le"]}', "format"),
    ('{"type": "hello", "protocol": 1, "sample_rate": 3999}', "3999"),
    ('{"type": "hello", "protocol": 1, "sample_rate": 1e999}', "Infinity"),
    ('{"type": "hello", "protocol": 1, "sample_rate": true}', "true"),
    ('{"type": "hello", "protocol": 1, "sample_rate": "16000"}', "16000"),
    ('{"type": "hello", "protocol": 1, "band": "half"}', "band"),
    ('{"type": "hello", "protocol": 1, "band": ["full"]}', "band"),
    ('{"type": "hello", "protocol": 1, "atten_limit": -1}', "-1"),
    ('{"type": "hello", "protocol": 1, "atten_limit": NaN}', "NaN"),
    ('{"type": "hello", "protocol": 1, "atten_limit": true}', "true"),
    ('{"type": "hello", "protocol": 1, "atten_limit": "12"}', "12"),
]


@pytest.mark.parametrize(("hello", "reason"), HELLOS)
def test_a_bad_hello_is_answered_with_the_reason(server, hello, reason):
    with connect(server.url, proxy=None) as client:
        client.send(hello)
        event = json.loads(client.recv(30))
        assert event["type"] == "error" and reason in event["message"] and "\n" not in event["message"]
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(30)
    assert closed.value.rcvd.code == 1008 and closed.value.rcvd.reason == event["message"][:123]


BAD = [
    (np.float32([0, 0, np.nan]).tobytes(), 1007, "sample 2 is not a finite"),
    (np.float32([-np.inf]).tobytes(), 1007, "sample 0 is not a finite"),
    (np.float32([3e38] * 1000).tobytes() + np.float32([np.inf]).tobytes(), 1007, "sample 1000"),
    ("garbage", 1008, "JSON"),
    ('{"type": "stop"}', 1008, '"stop" is not known'),
    ('{"type": ["flush"]}', 1008, "not known"),
    ('{"type": "reset", "x": "' + 5000 * "x" + '"}', 1009, "4096 characters"),
]


@pytest.mark.parametrize(("bad", "code", "reason"), BAD)
def test_bad_messages_are_answered_with_the_reason(server, bad, code, reason):
    with connect(server.url, proxy=None) as client:
        client.send(message("hello", protocol=1))
        assert json.loads(client.recv(30))["type"] == "ready"
        client.send(bad)
        while isinstance(received := client.recv(30), bytes):
            continue
        event = json.loads(received)
        assert event["type"] == "error" and reason in event["message"]
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(30)
    assert closed.value.rcvd.code == code


def test_half_a_sample_at_the_end(server):
    with connect(server.url, proxy=None) as client:
        client.send(message("hello", protocol=1))
        client.send(b"\0\0\0")
        client.send(message("flush"))
        assert json.loads(client.recv(30))["type"] == "ready"
        assert "within a sample" in json.loads(client.recv(30))["message"]


def test_the_client_tells_what_went_wrong(server):
    with pytest.raises(EdgeError, match="no connection"):
        Client("ws://127.0.0.1:9/stream")
    with pytest.raises(EdgeError, match="sample_rate 1 is not"):
        Client(server.url, sample_rate=1)
    with Client(server.url) as client, pytest.raises(EdgeError, match="not a finite"):
        client.enhance(np.full(1000, np.nan, np.float32))


def test_the_example_of_the_documentation_runs(server, enhancer_bundle, tmp_path, monkeypatch):
    documentation = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", documentation, re.DOTALL)
    audio = noise(6, 12_345)
    soundfile.write(tmp_path / "noisy.wav", audio, 16_000, "FLOAT")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example.replace("ws://127.0.0.1:8765/stream", server.url), names)
    np.testing.assert_array_equal(names["enhanced"], offline(enhancer_bundle, audio))


def test_a_huge_message_is_refused_by_its_length(server):
    raw = RawClient(server.port)
    raw.socket.sendall(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0" + bytes(1000))
    data = b""
    while chunk := raw.socket.recv(4096):
        data += chunk
    raw.socket.close()
    assert data[:1] == b"\x88" and int.from_bytes(data[2:4], "big") == 1009


def test_the_client_takes_each_channel_on_its_own(enhancer_bundle):
    stereo = np.stack([noise(1, 9000), noise(2, 9000)], axis=1)
    with serving(enhancer_bundle) as server, Client(server.url) as client:
        enhanced = client.enhance(stereo)
        assert enhanced.shape == stereo.shape
        for channel in range(2):
            np.testing.assert_array_equal(enhanced[:, channel], offline(enhancer_bundle, stereo[:, channel]))
        for wrong in (stereo.T, stereo[None], np.float32(1)):
            with pytest.raises(InputError, match="not \\("):
                client.enhance(wrong)
        with pytest.raises(InputError, match="one channel"):
            client.send(stereo)
