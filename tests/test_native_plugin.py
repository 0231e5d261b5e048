"""The JUCE plug-in in hosts of others (lilv: LV2, Pedalboard: VST3), against edge-run on the same audio."""

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

import edge
from edge import samples
from edge.native.library import onnxruntime_library

BUILT = Path(__file__).parent.parent / "build" / "plugin"
LV2 = BUILT / "StemEdge_artefacts" / "Release" / "LV2"
HOST = BUILT / "lv2_host"
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
    padded = np.concatenate([audio, np.zeros((3 * rate, 2), np.float32)])
    command = [HOST, URI, str(rate), *arguments]
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


@pytest.mark.parametrize(("rate", "tolerance"), [(16000, 0), (44100, 1e-6), (48000, 1e-6)])
def test_enhanced_speech_is_that_of_edge_run(rate, tolerance):
    audio = speech(rate)
    expected = edge_run("enhancer", audio, rate, "--band", "model")
    got = render(audio, rate, bundle=BUNDLES / "enhancer")
    assert np.abs(expected - audio).max() > 0.01 and got.latency > 4096
    np.testing.assert_allclose(got.audio, expected, rtol=0, atol=tolerance)


def delayed_exactly(got: Rendered, audio: np.ndarray, start: int = 0) -> None:
    np.testing.assert_array_equal(got.audio[start:], audio[start:])


@pytest.mark.parametrize("rate", [16000, 48000])
def test_strength_is_the_attenuation_limit(rate):
    audio = speech(rate)
    half = render(audio, rate, "strength=50@0", bundle=BUNDLES / "enhancer").audio
    limit = str(-20 * np.log10(0.5))
    expected = edge_run("enhancer", audio, rate, "--band", "model", "--atten-limit", limit)
    np.testing.assert_allclose(half, expected, rtol=0, atol=1e-6)
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


@pytest.mark.parametrize("block", [1, 480, 4096])
def test_the_vst3_enhances_as_edge_run(block):
    """In a process of its own: a plug-in is never unloaded from one."""
    pytest.importorskip("pedalboard")
    seconds = 0.5 if block == 1 else 4
    audio = speech(16000, seconds)
    program = f"""
import sys, numpy as np, pedalboard
plugin = pedalboard.load_plugin({str(VST3)!r})
audio = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(-1, 2).T
silence = np.zeros((2, 5000), np.float32)
plugin.process(silence, 16000, buffer_size={block})  # this host asks for the latency before it tells the rate
out = plugin.process(audio, 16000, buffer_size={block})
assert plugin.reported_latency_samples == 768 + {block}, plugin.reported_latency_samples
sys.stdout.buffer.write(np.ascontiguousarray(out.T).tobytes())
"""
    runtime = {"STEMEDGE_ONNXRUNTIME": str(onnxruntime_library()), "STEMEDGE_BUNDLE": str(BUNDLES / "enhancer")}
    padded = np.concatenate([audio, np.zeros((16000, 2), np.float32)])
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=padded.tobytes(), capture_output=True, env=os.environ | runtime, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    got = np.frombuffer(done.stdout, np.float32).reshape(-1, 2)[: len(audio)]
    np.testing.assert_array_equal(got, edge_run("enhancer", audio, 16000))
