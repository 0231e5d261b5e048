"""edge-run as a user runs it: in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import GAINS

from edge.bundle import snr_db


def run(*arguments, cwd: Path, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "edge.cli.run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, **options)


def noise(frames: int, channels: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((frames, channels))).astype(np.float32)


def test_enhance_writes_beside_the_caller(enhancer_path, tmp_path):
    audio = noise(40_001, 2)
    soundfile.write(tmp_path / "talk.wav", audio, 16000, "FLOAT")
    done = run(enhancer_path, "talk.wav", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert "RTF" in done.stdout and "talk_enhanced.wav" in done.stdout
    enhanced, rate = soundfile.read(tmp_path / "talk_enhanced.wav", dtype="float32")
    assert rate == 16000
    np.testing.assert_array_equal(enhanced, 0.5 * audio)
    assert sorted(os.listdir(tmp_path)) == ["talk.wav", "talk_enhanced.wav"]


def test_separate_writes_one_file_a_source(separator_path, tmp_path):
    audio = noise(100_003, 2)
    soundfile.write(tmp_path / "song.wav", audio, 44100, "FLOAT")
    done = run(separator_path, "song.wav", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert sorted(os.listdir(tmp_path / "song_stems")) == ["bass.wav", "drums.wav", "other.wav", "vocals.wav"]
    for gain, source in zip(GAINS, ["drums", "bass", "other", "vocals"], strict=True):
        stem, rate = soundfile.read(tmp_path / "song_stems" / f"{source}.wav", dtype="float32")
        assert rate == 44100 and stem.shape == audio.shape
        # the track's mean is added back to every stem, as the demucs command does
        mean = audio.mean()
        assert snr_db(gain * (audio - mean) + mean, stem) > 90


@pytest.mark.parametrize(("rate", "channels"), [(48000, 1), (22050, 2), (8000, 3)])
def test_any_rate_keeps_rate_and_length(enhancer_path, separator_path, tmp_path, rate, channels):
    seconds = np.arange(2 * rate + 1) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * seconds)
    soundfile.write(tmp_path / "x.flac", np.repeat(tone[:, None], channels, 1), rate, "PCM_24")
    assert run(enhancer_path, "x.flac", "-o", "y.flac", cwd=tmp_path).returncode == 0
    enhanced, out_rate = soundfile.read(tmp_path / "y.flac", always_2d=True)
    assert out_rate == rate and enhanced.shape == (len(tone), channels)
    inner = slice(rate // 4, -rate // 4)
    assert snr_db(0.5 * tone[inner], enhanced[inner, 0]) > 60
    done = run(separator_path, "x.flac", "-o", "stems", cwd=tmp_path)
    assert done.returncode == 0 and ("the first 2 of 3 channels" in done.stderr) == (channels == 3)
    vocals, out_rate = soundfile.read(tmp_path / "stems" / "vocals.wav")
    assert out_rate == rate and vocals.shape == (len(tone), 2)
    assert snr_db(0.4 * tone[inner], vocals[inner, 1]) > 60


@pytest.mark.parametrize("backend", ["onnx", "executorch"])
def test_backends_and_json(both_enhancer_path, tmp_path, backend):
    soundfile.write(tmp_path / "x.wav", noise(16_000, 1), 16000, "FLOAT")
    arguments = ["--backend", backend, "--threads", "1", "--json"]
    done = run(both_enhancer_path, "x.wav", *arguments, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    report = json.loads(done.stdout)
    assert report["backend"] == backend and report["frames"] == 16_000 and report["rtf"] > 0
    assert report["outputs"] == ["x_enhanced.wav"]


def test_help_and_version(tmp_path):
    for option, text in (("--help", "examples:"), ("--version", "edge-run 0")):
        done = run(option, cwd=tmp_path)
        assert done.returncode == 0 and text in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["b"], ["b", "x.wav", "--backend", "tflite"], ["b", "x.wav", "--threads", "0"]]
)
def test_bad_use_exits_with_2(arguments, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and "edge-run: error:" in done.stderr and "Traceback" not in done.stderr


def test_interruption_leaves_nothing(enhancer_path, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * 1800, np.float32), 16000, "PCM_16")
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        command = [sys.executable, "-m", "edge.cli.run", str(enhancer_path), "long.wav"]
        # a test run in the background of a shell ignores SIGINT, and its children would too
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        until = time.monotonic() + 30
        while len(os.listdir(tmp_path)) == 1 and time.monotonic() < until:  # until the temporary file is there
            time.sleep(0.01)
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
        assert process.returncode == code and "Traceback" not in error
        assert os.listdir(tmp_path) == ["long.wav"]


def test_closed_stdout(enhancer_path, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(1000, 1), 16000)
    command = f"{sys.executable} -m edge.cli.run {enhancer_path} x.wav | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
