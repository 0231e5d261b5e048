"""The JUCE plug-in in a host that is not JUCE (lilv), against edge-run on the same audio."""

from __future__ import annotations

import os
import re
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
