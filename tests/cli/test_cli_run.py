"""edge-run as a user runs it: in a process of its own."""

import json
import os
import shutil
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
    assert done.returncode == 0 and ("3 channels are mixed down to 2" in done.stderr) == (channels == 3)
    vocals, out_rate = soundfile.read(tmp_path / "stems" / "x_stems" / "vocals.wav", always_2d=True)
    assert out_rate == rate and vocals.shape == (len(tone), min(channels, 2))
    loud = 1 + (channels == 3) * np.sqrt(0.5)  # the centre comes to both sides
    assert snr_db(0.4 * loud * tone[inner], vocals[inner, -1]) > 60


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
    # not silence, which is not even run
    soundfile.write(tmp_path / "long.wav", np.full(16_000 * 1800, 0.1, np.float32), 16000, "PCM_16")
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


def test_a_killed_run_leaves_no_file_that_looks_finished(enhancer_path, separator_path, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.full((44_100 * 600, 2), 0.1, np.float32), 44100, "PCM_16")
    for bundle in (enhancer_path, separator_path):
        process = subprocess.Popen([sys.executable, "-m", "edge.cli.run", str(bundle), "long.wav"], cwd=tmp_path)
        until = time.monotonic() + 60
        while not [p for p in tmp_path.rglob("*.*") if ".tmp" in str(p) and p.is_file()] and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
        process.wait()
        left = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "long.wav"]
        assert left and all(p.name.startswith(".") or p.name.endswith(".part") for p in left)
        done = run(bundle, "long.wav", "--resume", cwd=tmp_path)  # so it is not taken for finished
        assert done.returncode == 0 and "skipped" not in done.stderr
        shutil.rmtree(tmp_path / "long_stems", ignore_errors=True)
        for path in tmp_path.glob(".*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (tmp_path / "long_enhanced.wav").unlink(missing_ok=True)


def test_several_files_and_one_failure(enhancer_path, separator_path, tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", noise(9000, 2), 16000, "FLOAT")
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    done = run(enhancer_path, "a.wav", "bad.wav", "b.wav", "-o", "out", "--format", "flac", "--json", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "bad.wav" in done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["a_enhanced.flac", "b_enhanced.flac"]
    reports = json.loads(done.stdout)
    assert [(report["input"], report["status"]) for report in reports] == [
        ("a.wav", "done"),
        ("bad.wav", "failed"),
        ("b.wav", "done"),
    ]
    assert "bad.wav" in reports[1]["error"] and reports[2]["outputs"] == ["out/b_enhanced.flac"]
    done = run(separator_path, "a.wav", "b.wav", "-o", "out", "--format", "flac", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.endswith("2 recordings: 2 done\n")
    assert sorted(os.listdir(tmp_path / "out/b_stems")) == ["bass.flac", "drums.flac", "other.flac", "vocals.flac"]


def test_resume_skips_what_is_there(separator_path, tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", noise(9000, 2), 44100, "FLOAT")
    assert run(separator_path, "a.wav", cwd=tmp_path).returncode == 0
    before = (tmp_path / "a_stems/bass.wav").stat().st_mtime_ns
    done = run(separator_path, "a.wav", "b.wav", "--resume", cwd=tmp_path)
    assert done.returncode == 0 and "a_stems is there" in done.stderr and "b_stems" not in done.stderr
    assert (tmp_path / "a_stems/bass.wav").stat().st_mtime_ns == before and (tmp_path / "b_stems/bass.wav").exists()
    (tmp_path / "a_stems/bass.wav").unlink()  # a folder that lacks a stem is not finished
    assert run(separator_path, "a.wav", "--resume", cwd=tmp_path).returncode == 0
    assert (tmp_path / "a_stems/bass.wav").exists()


def test_one_stem_into_a_file(separator_path, tmp_path):
    audio = noise(20_000, 2)
    audio -= audio.mean()
    soundfile.write(tmp_path / "x.wav", audio, 44100, "FLOAT")
    for options, name in ((["-o", "v.wav"], "v.wav"), (["--format", "flac"], "x_vocals.flac")):
        assert run(separator_path, "x.wav", "--source", "vocals", *options, cwd=tmp_path).returncode == 0
        np.testing.assert_allclose(soundfile.read(tmp_path / name)[0], 0.4 * audio, atol=1e-6)


def test_stems_that_add_up(separator_path, tmp_path):
    audio = noise(20_000, 2) + np.float32(0.1)
    soundfile.write(tmp_path / "x.wav", audio, 44100, "FLOAT")
    assert run(separator_path, "x.wav", "--consistent", cwd=tmp_path).returncode == 0
    stems = [soundfile.read(file)[0] for file in (tmp_path / "x_stems").iterdir()]
    np.testing.assert_allclose(np.sum(stems, axis=0), audio, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["a.wav", "x/a.wav", "-o", "out"], "would both become"),
        (["a.wav", "--source", "tuba"], "no source 'tuba'"),
        (["a.wav", "--latency", "1"], "--latency is for"),
        (["a.wav", "b.wav", "--source", "bass", "-o", "-"], "a pipe takes one recording"),
        (["a.wav", "--live"], "--input a.wav"),
    ],
)
def test_options_that_do_not_fit(separator_path, tmp_path, arguments, word):
    done = run(separator_path, *arguments, cwd=tmp_path)
    assert done.returncode == 2 and word in done.stderr and done.stderr.count("\n") == 1


def test_inputs_and_options_in_any_order(enhancer_path, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(1000, 1), 16000)
    assert run("--threads", 1, enhancer_path, "-o", "y.wav", "x.wav", cwd=tmp_path).returncode == 0
    assert (tmp_path / "y.wav").exists()
