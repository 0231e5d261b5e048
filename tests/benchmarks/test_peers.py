"""Peers: messages arrive whole, delays are found and taken out, and a peer that fails costs one line."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from edge.benchmarks.peers import __main__ as command
from edge.benchmarks.peers import catalogue, install, measure, protocol, report
from edge.benchmarks.peers.client import Launch, delay_between, peer_launch, start
from edge.errors import EdgeError, InputError
from edge.metrics import si_sdr

DELAY, HOP, RATE = 300, 160, 24000
FAKE = f'''
import os
import numpy as np

class Fake:
    """Half the gain, {DELAY} samples late, in steps of {HOP}."""
    rate, channels, sources, hop, size_bytes, version = {RATE}, 1, ["speech"], {HOP}, 1000, "fake 1.0"

    def __init__(self, threads, mode=""):
        print("chatter on stdout")
        if mode == "refuse":
            raise RuntimeError("no model\\nhere")
        self.mode = mode
        self.past = np.zeros({DELAY}, np.float32)

    def step(self, frame):
        self.past = np.concatenate([self.past, frame])
        out, self.past = self.past[:{HOP}], self.past[{HOP}:]
        return 0.5 * out

    def run(self, audio):
        print("more chatter")
        if self.mode == "fail":
            raise ValueError("cannot")
        if self.mode == "die":
            os._exit(3)
        self.past = np.zeros({DELAY}, np.float32)
        padded = np.pad(audio[0], (0, -audio.shape[1] % {HOP}))
        return np.concatenate([self.step(f) for f in padded.reshape(-1, {HOP})])[None, None]
'''


@pytest.fixture(scope="session")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fake") / "fake_peer.py"
    path.write_text(FAKE)
    return path


def launch(path: Path, *arguments: str) -> Launch:
    return Launch("fake", Path(sys.executable), f"{path}:Fake", arguments)


@given(array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7), st.dictionaries(st.text(), st.integers()))
def test_messages_arrive_as_they_were_sent(shape, header):
    header.pop("shape", None)
    audio = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    stream = io.BytesIO()
    protocol.send(stream, header, audio)
    protocol.send(stream, {"op": "end"})
    stream.seek(0)
    received, samples = protocol.receive(stream)
    assert received == header and samples is not None and np.array_equal(samples, audio)
    assert protocol.receive(stream) == ({"op": "end"}, None)
    with pytest.raises(EOFError):
        protocol.receive(stream)


def test_a_message_cut_off_is_the_end():
    stream = io.BytesIO()
    protocol.send(stream, {"op": "run"}, np.zeros(100, np.float32))
    with pytest.raises(EOFError):
        protocol.receive(io.BytesIO(stream.getvalue()[:-1]))


@settings(max_examples=25)
@given(st.integers(0, 2000), st.floats(0.05, 3), st.integers(0, 2**16))
def test_a_delay_is_found_whatever_the_gain(delay, gain, seed):
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal(8000)
    late = gain * np.concatenate([np.zeros(delay), reference]) + 0.1 * gain * rng.standard_normal(8000 + delay)
    assert delay_between(reference, late, 2000) == delay
    assert delay_between(reference, -late, 2000) == delay  # a peer may turn the sign


def test_output_is_aligned_and_of_the_input_s_length_and_rate(fake):
    rng = np.random.default_rng(1)
    audio = np.cumsum(rng.standard_normal(16001)).astype(np.float32)  # little energy near half the rate
    audio = 0.01 * (audio - audio.mean())[None]
    with start(launch(fake)) as process:
        out = process.run(audio, 16000)
        assert process.delay == DELAY
        assert process.latency_seconds == pytest.approx((DELAY + HOP) / RATE)
        assert process.about["version"] == "fake 1.0" and process.about["load_seconds"] >= 0
        times = process.ask({"op": "time", "seconds": 0.1})[0]
        assert len(times["hops"]) == round(0.1 * RATE / HOP) and times["seconds"] == pytest.approx(sum(times["hops"]))
        peak = process.peak_bytes()
    assert out.shape == (1, 1, 16001)
    assert si_sdr(audio[0, 100:-100], out[0, 0, 100:-100]) > 40
    assert np.allclose(out[0, 0, 200:-200], 0.5 * audio[0, 200:-200], atol=0.02)
    assert peak is None or peak > 5e6


@pytest.mark.parametrize(
    ("mode", "message"), [("refuse", "no model here"), ("fail", "ValueError: cannot"), ("die", "exit code 3")]
)
def test_a_peer_that_fails_is_told_in_one_line(fake, mode, message):
    with pytest.raises(EdgeError, match=message) as caught, start(launch(fake, mode)) as process:
        process.run_raw(np.zeros((1, 480), np.float32))
    assert "\n" not in str(caught.value)


def test_a_python_that_is_not_there_is_told(tmp_path, fake):
    with pytest.raises(EdgeError, match="cannot be started"), start(Launch("x", tmp_path / "no", f"{fake}:Fake")):
        pass


def test_peers_are_chosen_by_name():
    assert [p.name for p in catalogue.select("dtln, gtcrn")] == ["gtcrn", "dtln"]
    assert {p.task for p in catalogue.select("all", "separate")} == {"separate"}
    assert catalogue.select("none") == []
    with pytest.raises(InputError, match=r"unknown peer 'demcus'; known: .*htdemucs"):
        catalogue.select("demcus")
    with pytest.raises(InputError, match="unknown peer 'spleeter'"):
        catalogue.select("spleeter", "enhance")


def test_one_peer_that_does_not_install_leaves_the_others(tmp_path, monkeypatch):
    calls = []

    def pip(place, arguments):
        calls.append(arguments)
        if "pyrnnoise" in arguments:
            raise EdgeError("pip install pyrnnoise failed: no wheel")

    monkeypatch.setattr(install, "_pip", pip)
    peers = catalogue.select("rnnoise,webrtc-ns")
    failed = install.install(peers, tmp_path)
    assert [(peer.name, reason) for peer, reason in failed] == [("rnnoise", "pip install pyrnnoise failed: no wheel")]
    assert install.python_of(peers[1], tmp_path).exists()
    with pytest.raises(InputError, match=r"rnnoise is not installed: python -m edge\.benchmarks\.peers install"):
        install.python_of(peers[0], tmp_path)
    done = len(calls)
    install.install(peers[1:], tmp_path)  # there already
    assert len(calls) == done


def test_the_report_has_a_row_for_each_that_runs_and_a_line_for_each_that_does_not(
    fake, enhancer_path, separator_path, monkeypatch, tmp_path
):
    def launched(peer):
        if peer.name == "dtln":
            raise InputError("dtln is not installed: ...")
        return launch(fake, "fail" if peer.name == "rnnoise" else "")

    monkeypatch.setattr(measure, "peer_launch", launched)
    peers = catalogue.select("gtcrn,dtln,rnnoise")
    content = measure.measure(peers, [enhancer_path, separator_path], rounds=2, seconds=0.2)
    rows = {row["name"]: row for row in content["enhance"]}
    assert set(rows) == {"tiny-enhance-onnx", "fake"} and len(content["separate"]) == 1
    assert content["failures"] == ["dtln is not installed: ...", "fake: ValueError: cannot"]
    ours = content["enhance"][0]
    assert ours["ours"] and ours["ratio"][0] == 1.0 and ours["latency_seconds"] == pytest.approx(640 / 16000)
    # the tiny bundle halves: SI-SDR does not change
    assert ours["quality"]["si_sdr"] == pytest.approx(ours["quality"]["input_si_sdr"], abs=0.01)
    text = report.markdown(content)
    assert "**tiny-enhance, fp32, onnx**" in text and "| GTCRN |" in text and "dtln is not installed" in text
    assert "### Music separation" in text


def test_nothing_to_measure_is_refused(capsys):
    assert command.main(["run", "--peers", "none"]) == 2
    assert "name bundles or peers" in capsys.readouterr().err
    assert command.main(["list"]) == 0
    assert "gtcrn" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("peer", [p for p in catalogue.PEERS if p.task == "enhance"], ids=lambda p: p.name)
def test_installed_enhancers_reduce_noise_with_the_published_latency(peer):
    from edge import samples

    try:
        launched = peer_launch(peer)
    except InputError as error:
        pytest.skip(str(error))
    milliseconds = {"deepfilternet3": 40, "gtcrn": 32, "dtln": 32, "nsnet2": 20, "rnnoise": 30, "webrtc-ns": 16}
    noisy, clean = samples.speech()
    with start(launched) as process:
        estimate = process.run(noisy[None], 16000)[0, 0]
        assert process.latency_seconds == pytest.approx(milliseconds[peer.name] / 1000)
    assert estimate.shape == noisy.shape
    if peer.name != "webrtc-ns":  # its high-pass filter costs SI-SDR
        assert si_sdr(clean, estimate) > si_sdr(clean, noisy) + 3
