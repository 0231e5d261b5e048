"""The JUCE plug-in in hosts (on lilv: LV2; Pedalboard: VST3; on JUCE: both), against edge-run on the same audio."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soxr
from conftest import make_bundle

import edge
from edge import samples
from edge.bundle import open_bundle
from edge.native.library import onnxruntime_library
from edge.runtime.converted import at_rate
from edge.runtime.graphs import load_graph
from edge.runtime.lowdelay import LowDelayResampler
from edge.runtime.session import new_session

BUILT = Path(__file__).parents[2] / "build" / "plugin"
LV2 = BUILT / "StemEdge_artefacts" / "Release" / "LV2"
HOST = BUILT / "lv2_host"
JUCE_HOST = BUILT / "juce_host"
VST3 = LV2.parent / "VST3" / "stem-edge.vst3"
URI = "urn:stem-edge:plugin"
BUNDLES = Path(edge.__file__).parent / "bundles"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (HOST.is_file() and LV2.is_dir()),
        reason="the plug-in is not built: make native-plugin (needs JUCE and lilv)",
    ),
]


@dataclass
class Rendered:
    audio: np.ndarray  # float32 (frames, 2), aligned with the input
    latency: int  # samples
    log: str


def render(audio: np.ndarray, rate: int, *arguments: str, bundle: Path | str = "") -> Rendered:
    """float32 (frames, 2) through the plug-in, offline, in blocks of 1 to 4096; the reported latency is taken off."""
    env = os.environ | {"STEMEDGE_ONNXRUNTIME": str(onnxruntime_library()), "LV2_PATH": str(LV2)}
    env["STEMEDGE_BUNDLE"] = str(bundle)
    return _rendered([HOST, URI, str(rate), *arguments], audio, rate, env)


def render_in_juce(format: str, audio: np.ndarray, rate: int, *arguments: str, bundle: Path) -> Rendered:
    """The same in a host on JUCE, whose parameters go from 0 to 1."""
    env = {"STEMEDGE_ONNXRUNTIME": str(onnxruntime_library()), "STEMEDGE_BUNDLE": str(bundle)}
    command = [JUCE_HOST, LV2.parent / format, str(rate), *arguments]
    rendered = _rendered(command, audio, rate, os.environ | env)
    assert f"format {format}\n" in rendered.log
    return rendered


def _rendered(command: list, audio: np.ndarray, rate: int, env: dict[str, str]) -> Rendered:
    padded = np.concatenate([audio, np.zeros((3 * rate, 2), np.float32)])
    done = subprocess.run(command, input=padded.tobytes(), capture_output=True, env=env, timeout=600)
    log = done.stderr.decode()
    assert done.returncode == 0, log
    latency = int(re.search(r"^latency (\d+)$", log, re.M)[1])
    out = np.frombuffer(done.stdout, np.float32).reshape(-1, 2)
    assert len(out) == len(padded) and latency < 3 * rate and not np.any(out[:latency])
    return Rendered(out[latency : latency + len(audio)], latency, log)


def edge_run(bundle: str, audio: np.ndarray, rate: int, *arguments: str) -> np.ndarray:
    """The same through `edge-run` and pipes. Silence follows here, too: the converters hear where a recording ends."""
    padded = np.concatenate([audio, np.zeros((rate, 2), np.float32)])
    raw = ["--raw", "f32le", "--rate", str(rate), "--channels", "2"]
    command = [sys.executable, "-m", "edge.cli.run", str(BUNDLES / bundle), "-", "-o", "-", *raw, *arguments]
    done = subprocess.run(command, input=padded.tobytes(), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return np.frombuffer(done.stdout, np.float32).reshape(-1, 2)[: len(audio)]


def speech(rate: int, seconds: float = 4) -> np.ndarray:
    """float32 (frames, 2): noisy speech, and the same backwards."""
    mono = samples.speech()[0][: int(seconds * 16000)]
    mono = (mono if rate == 16000 else soxr.resample(mono, 16000, rate)).astype(np.float32)
    return np.ascontiguousarray(np.stack([mono, mono[::-1]], axis=1))


def with_short_delays(audio: np.ndarray, rate: int) -> np.ndarray:
    """The enhancer's Python session on each channel, with the converters of live use."""
    bundle = open_bundle(BUNDLES / "enhancer")
    graph, channels = load_graph(bundle, "onnx"), []
    for channel in np.concatenate([audio, np.zeros((rate, 2), np.float32)]).T:
        session = new_session(bundle, graph)
        session = session if rate == session.sample_rate else at_rate(session, rate, converter=LowDelayResampler)
        channels.append(np.concatenate([session.process(np.ascontiguousarray(channel)), session.flush()]))
    return np.stack(channels, axis=1)[: len(audio)]


@pytest.mark.parametrize(("rate", "tolerance"), [(16000, 0), (44100, 1e-6), (48000, 1e-6), (96000, 1e-6)])
def test_live_speech_is_enhanced_with_short_delays(rate, tolerance):
    """An LV2 host tells that it renders offline when the plug-in runs already: its latency stays."""
    audio = speech(rate)
    expected = with_short_delays(audio, rate)
    got = render(audio, rate, bundle=BUNDLES / "enhancer")
    assert np.abs(expected - audio).max() > 0.01
    assert 4096 < got.latency < 4096 + 0.06 * rate  # a block, a hop, and 36 ms at most
    np.testing.assert_allclose(got.audio, expected, rtol=0, atol=tolerance)


@pytest.mark.skipif(not JUCE_HOST.is_file(), reason="the host on JUCE is not built")
class TestInJuce:
    @pytest.mark.parametrize(("rate", "tolerance"), [(16000, 0), (48000, 1e-6), (96000, 1e-6)])
    def test_the_vst3_renders_offline_what_edge_run_gives(self, rate, tolerance):
        audio = speech(rate)
        expected = edge_run("enhancer", audio, rate, "--band", "model")
        got = render_in_juce("VST3", audio, rate, bundle=BUNDLES / "enhancer")
        assert np.abs(expected - audio).max() > 0.01 and got.latency > 4096
        np.testing.assert_allclose(got.audio, expected, rtol=0, atol=tolerance)

    @pytest.mark.parametrize("format", ["VST3", "LV2"])
    def test_strength_is_automated(self, format):
        audio, frame = speech(16000), 30000
        got = render_in_juce(format, audio, 16000, f"Strength=0@{frame}", bundle=BUNDLES / "enhancer")
        expected = edge_run("enhancer", audio, 16000)
        before, after = frame - got.latency - 4096, frame - got.latency + 4096 + 320  # a block, 20 ms
        np.testing.assert_array_equal(got.audio[:before], expected[:before])
        delayed_exactly(got, audio, after)

    @pytest.mark.parametrize("format", ["VST3", "LV2"])
    def test_a_song_is_mixed_of_the_stems_of_edge_run(self, format):
        audio, frame, settled = song(), 100000, 2 * 4096 + 882
        options = ["--latency", "1", "--consistent", "--source"]
        names = ["drums", "bass", "other", "vocals"]
        stems = [edge_run("htdemucs-mini", audio, 44100, *options, name) for name in names]
        gain = (-6 + 60) / 72  # of -60 to 12 dB
        automation = [f"Stem 2 gain={gain}@0", f"Stem 4 mute=1@{frame}"]
        got = render_in_juce(format, audio, 44100, *automation, bundle=BUNDLES / "htdemucs-mini")
        expected = stems[0] + 10 ** (-6 / 20) * stems[1] + stems[2]
        before, after = frame - got.latency - 4096, frame - got.latency + settled
        np.testing.assert_allclose(got.audio[:before], (expected + stems[3])[:before], rtol=0, atol=2e-6)
        np.testing.assert_allclose(got.audio[after:], expected[after:], rtol=0, atol=2e-6)


def delayed_exactly(got: Rendered, audio: np.ndarray, start: int = 0) -> None:
    np.testing.assert_array_equal(got.audio[start:], audio[start:])


@pytest.mark.parametrize("rate", [16000, 48000])
def test_strength_is_the_attenuation_limit(rate):
    audio = speech(rate)
    half = render(audio, rate, "strength=50@0", bundle=BUNDLES / "enhancer").audio
    np.testing.assert_allclose(half, (audio + with_short_delays(audio, rate)) / 2, rtol=0, atol=1e-6)
    delayed_exactly(render(audio, rate, "strength=0@0", bundle=BUNDLES / "enhancer"), audio)


def test_strength_is_automated():
    audio, frame = speech(16000), 30000
    got = render(audio, 16000, f"strength=0@{frame}", bundle=BUNDLES / "enhancer")
    expected = edge_run("enhancer", audio, 16000)
    before, after = frame - got.latency - 4096, frame - got.latency + 320  # a block sooner, 20 ms later
    np.testing.assert_array_equal(got.audio[:before], expected[:before])
    delayed_exactly(got, audio, after)


def test_bypass_is_the_input_with_the_same_latency():
    audio = speech(44100)
    for name in BUNDLES / "enhancer", BUNDLES / "htdemucs-mini":
        delayed_exactly(render(audio, 44100, "enabled=0@0", bundle=name), audio)


def song(seconds: float = 6) -> np.ndarray:
    return np.ascontiguousarray(samples.song()[0].T[: int(seconds * 44100)].astype(np.float32))


def test_stems_are_those_of_edge_run():
    audio = song()
    sources = ["drums", "bass", "other", "vocals"]
    options = ["--latency", "1", "--consistent"]
    stems = [edge_run("htdemucs-mini", audio, 44100, *options, "--source", name) for name in sources]
    assert min(np.abs(stem).max() for stem in stems) > 0.001
    bundle = BUNDLES / "htdemucs-mini"
    np.testing.assert_allclose(render(audio, 44100, bundle=bundle).audio, np.sum(stems, axis=0), rtol=0, atol=1e-6)
    solo = render(audio, 44100, "solo4=1@0", bundle=bundle)
    np.testing.assert_allclose(solo.audio, stems[3], rtol=0, atol=1e-6)
    mixed = render(audio, 44100, "mute1=1@0", "gain2=-6@0", "gain3=-60@0", "gain4=6@0", bundle=bundle)
    expected = 10 ** (-6 / 20) * stems[1] + 10 ** (6 / 20) * stems[3]
    np.testing.assert_allclose(mixed.audio, expected, rtol=0, atol=2e-6)
    frame, settled = 100000, 4096 + 882
    changed = render(audio, 44100, f"mute4=1@{frame}", bundle=bundle)
    before, after = frame - changed.latency - 4096, frame - changed.latency + settled
    np.testing.assert_allclose(changed.audio[:before], np.sum(stems, axis=0)[:before], rtol=0, atol=1e-6)
    np.testing.assert_allclose(changed.audio[after:], np.sum(stems[:3], axis=0)[after:], rtol=0, atol=1e-6)


class JuceState:
    """The session state of the plug-in in an LV2 preset: XML with a length before it, in JUCE's own base 64."""

    LETTERS = ".ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"

    @classmethod
    def text(cls, xml: str) -> str:
        data = struct.pack("<II", 0x21324356, len(xml)) + xml.encode() + b"\0"
        bits = "".join(f"{byte:08b}"[::-1] for byte in data)
        bits += "0" * (-len(bits) % 6)
        letters = [cls.LETTERS[int(bits[i : i + 6][::-1], 2)] for i in range(0, len(bits), 6)]
        return f"{len(data)}." + "".join(letters)

    @classmethod
    def xml(cls, text: str) -> str:
        count, letters = text.split(".", 1)
        bits = "".join(f"{cls.LETTERS.index(letter):06b}"[::-1] for letter in letters)
        data = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, 8 * int(count), 8))
        return data[8:].rstrip(b"\0").decode()


def preset(file: Path, bundle: Path, **parameters: float) -> Path:
    values = "".join(f'<PARAM id="{name}" value="{value}"/>' for name, value in parameters.items())
    text = JuceState.text(f'<?xml version="1.0"?><stem-edge bundle="{bundle}" latency="0.5">{values}</stem-edge>')
    prefixes = "@prefix pset: <http://lv2plug.in/ns/ext/presets#> .\n@prefix lv2: <http://lv2plug.in/ns/lv2core#> .\n"
    prefixes += "@prefix state: <http://lv2plug.in/ns/ext/state#> .\n"
    body = f'a pset:Preset ; lv2:appliesTo <{URI}> ; state:state [ <{URI}:StateString> "{text}" ] .'
    file.write_text(f"{prefixes}<urn:lv2-host:state> {body}\n")
    return file


def saved_xml(file: Path) -> str:
    return JuceState.xml(re.search(r'StateString> "([^"]*)"', file.read_text())[1])


def test_bundle_and_parameters_are_saved_and_restored(tmp_path):
    audio = speech(16000, 2)
    first = preset(tmp_path / "first.ttl", BUNDLES / "enhancer", strength=50)
    expected = edge_run("enhancer", audio, 16000, "--atten-limit", str(-20 * np.log10(0.5)))
    once = render(audio, 16000, f"load={first}", f"save={tmp_path / 'second.ttl'}")
    np.testing.assert_allclose(once.audio, expected, rtol=0, atol=1e-6)
    xml = saved_xml(tmp_path / "second.ttl")
    assert f'bundle="{BUNDLES / "enhancer"}"' in xml and 'latency="0.5"' in xml
    assert re.search(r'id="strength" value="50(\.0)?"', xml)
    again = render(audio, 16000, f"load={tmp_path / 'second.ttl'}")
    np.testing.assert_array_equal(again.audio, once.audio)


def test_what_is_wrong_is_said_and_the_input_goes_through(tmp_path):
    audio = speech(16000, 1)
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged.edge"
    damaged.write_bytes(b"PK\3\4 no bundle")
    for place in (tmp_path / "nowhere", tmp_path / "empty", damaged):
        got = render(audio, 16000, bundle=place)
        lines = [line for line in got.log.splitlines() if line.startswith("stem-edge: ")]
        assert len(lines) == 1 and str(place) in lines[0], got.log
        assert got.latency == 0
        delayed_exactly(got, audio)
    silent = render(audio, 16000)
    assert "stem-edge: " not in silent.log and silent.latency == 0
    delayed_exactly(silent, audio)


def test_three_threads_use_the_plugin_at_once(tmp_path):
    """Bundles change while audio runs, parameters and state too; under ThreadSanitizer: docs/native.md."""
    bundles = [make_bundle(tmp_path / task, task, segment=26460) for task in ("enhance", "separate")]
    command = [BUILT / "threads", "5", *bundles]
    env = os.environ | {"STEMEDGE_ONNXRUNTIME": str(onnxruntime_library())}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 50


def in_pedalboard(audio: np.ndarray, rate: int, block: int, bundle: str, latency: int) -> np.ndarray:
    """The audio through the VST3, in a process of its own: a plug-in is never unloaded from one."""
    pytest.importorskip("pedalboard")
    program = f"""
import sys, numpy as np, pedalboard
plugin = pedalboard.load_plugin({str(VST3)!r})
audio = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(-1, 2).T
silence = np.zeros((2, 5000), np.float32)
plugin.process(silence, {rate}, buffer_size={block})  # this host asks for the latency before it tells the rate
out = plugin.process(audio, {rate}, buffer_size={block})
assert plugin.reported_latency_samples == {latency}, plugin.reported_latency_samples
sys.stdout.buffer.write(np.ascontiguousarray(out.T).tobytes())
"""
    runtime = {"STEMEDGE_ONNXRUNTIME": str(onnxruntime_library()), "STEMEDGE_BUNDLE": str(BUNDLES / bundle)}
    padded = np.concatenate([audio, np.zeros((2 * rate, 2), np.float32)])
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=padded.tobytes(), capture_output=True, env=os.environ | runtime, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, np.float32).reshape(-1, 2)[: len(audio)]


@pytest.mark.parametrize("block", [1, 480, 4096])
def test_the_vst3_enhances_as_edge_run(block):
    audio = speech(16000, 0.5 if block == 1 else 4)
    got = in_pedalboard(audio, 16000, block, "enhancer", 768 + block)
    np.testing.assert_array_equal(got, edge_run("enhancer", audio, 16000))


def test_the_vst3_separates_as_edge_run():
    audio, latency = song(), 44100
    got = in_pedalboard(audio, 44100, 4096, "htdemucs-mini", latency + latency // 2 + 4096)
    options = ["--latency", "1", "--consistent", "--source"]
    stems = [edge_run("htdemucs-mini", audio, 44100, *options, name) for name in ("drums", "bass", "other", "vocals")]
    assert min(np.abs(stem).max() for stem in stems) > 0.001
    np.testing.assert_allclose(got, np.sum(stems, axis=0), rtol=0, atol=1e-6)
