"""stemedge-run, the native command, against edge-run on the same files and pipes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_bundle

import edge
from edge.bundle import snr_db
from edge.cli.run import main
from edge.native.library import onnxruntime_library

BUILT = Path(__file__).parents[2] / "build" / "native" / "stemedge-run"
COMMAND = os.environ.get("STEMEDGE_RUN") or (str(BUILT) if BUILT.is_file() else shutil.which("stemedge-run"))
pytestmark = pytest.mark.skipif(COMMAND is None, reason="stemedge-run is not built: make native")


def run(*arguments, stdin: bytes = b"") -> subprocess.CompletedProcess:
    """The command, which must not crash, on the ONNX Runtime of this environment."""
    env = {"STEMEDGE_ONNXRUNTIME": str(onnxruntime_library())} | os.environ
    done = subprocess.run([COMMAND, *map(str, arguments)], input=stdin, capture_output=True, env=env, timeout=600)
    assert done.returncode >= 0, done.stderr
    return done


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("bundles")
    return {task: make_bundle(place / task, task) for task in ("enhance", "separate")}


def recording(path: Path, rate: int, channels: int, seconds: float = 1.3) -> np.ndarray:
    audio = np.random.default_rng(1).standard_normal((int(seconds * rate), channels)).astype(np.float32) * 0.1
    audio[rate // 2 : rate // 2 + rate // 3] = 0
    soundfile.write(path, audio, rate, "FLOAT")
    return audio


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (48000, 2), (22050, 3)])
def test_enhanced_files_are_those_of_edge_run(bundles, tmp_path, rate, channels):
    recording(tmp_path / "in.wav", rate, channels)
    arguments = ["--band", "model", "-o", str(tmp_path / "python.wav")]
    assert main([str(bundles["enhance"]), str(tmp_path / "in.wav"), *arguments]) == 0
    done = run(bundles["enhance"], tmp_path / "in.wav", "-o", tmp_path / "native.wav")
    assert (done.returncode, done.stderr) == (0, b"")
    (python, a), (native, b) = (soundfile.read(tmp_path / f"{name}.wav") for name in ("python", "native"))
    assert (a, native.shape) == (b, python.shape)
    np.testing.assert_allclose(native, python, atol=0 if rate == 16000 else 1e-6)


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (48000, 1)])
def test_separated_files_are_those_of_edge_run(bundles, tmp_path, rate, channels):
    recording(tmp_path / "in.wav", rate, channels)
    assert main([str(bundles["separate"]), str(tmp_path / "in.wav"), "--stereo", "-o", str(tmp_path)]) == 0
    assert run(bundles["separate"], tmp_path / "in.wav", "-o", tmp_path / "native").returncode == 0
    names = {file.name for file in (tmp_path / "in_stems").iterdir()}
    assert {file.name for file in (tmp_path / "native").iterdir()} == names and len(names) == 4
    for name in names:
        python, native = soundfile.read(tmp_path / "in_stems" / name)[0], soundfile.read(tmp_path / "native" / name)[0]
        np.testing.assert_allclose(native, python, atol=1e-6)
    bass = ["-o", tmp_path / "bass.flac", "--source", "bass"]
    assert run(bundles["separate"], tmp_path / "in.wav", *bass).returncode == 0
    alone = soundfile.read(tmp_path / "bass.flac")[0]
    np.testing.assert_allclose(alone, soundfile.read(tmp_path / "native" / "bass.wav")[0], atol=2**-23)


def test_a_karaoke_track_is_normalised_as_in_edge_run(tmp_path):
    """Through the shipped separator: the tiny one is linear, and would not tell."""
    shipped = Path(edge.__file__).parent / "bundles" / "htdemucs-mini"
    audio = recording(tmp_path / "in.wav", 44100, 2)
    audio[:, 1] = 1e-3 * audio[:, 1] - audio[:, 0]
    soundfile.write(tmp_path / "in.wav", audio, 44100, "FLOAT")
    assert main([str(shipped), str(tmp_path / "in.wav"), "-o", str(tmp_path)]) == 0
    assert run(shipped, tmp_path / "in.wav", "-o", tmp_path / "native").returncode == 0
    for file in (tmp_path / "in_stems").iterdir():
        python, native = soundfile.read(file)[0], soundfile.read(tmp_path / "native" / file.name)[0]
        assert snr_db(python, native) > 60


def test_a_pipe_keeps_its_length(bundles):
    samples = (np.random.default_rng(0).standard_normal(10_001) * 3000).astype("<i2")
    done = run(bundles["enhance"], "-", "-o", "-", "--raw", "s16le", "--rate", "16000", stdin=samples.tobytes())
    out = np.frombuffer(done.stdout, "<i2")
    assert done.returncode == 0 and len(out) == len(samples)
    np.testing.assert_allclose(out, samples / 2, atol=1)  # the tiny enhancer halves


def test_check_and_info(bundles):
    assert b"golden check: 200.0 dB" in run(bundles["enhance"], "--check").stdout
    assert b"vocals" in run(bundles["separate"], "--info").stdout


def test_every_failure_is_one_line_and_leaves_nothing(bundles, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    audio, enhancer, separator = place / "in.wav", bundles["enhance"], bundles["separate"]
    recording(audio, 16000, 1)
    damaged = place / "nan.wav"
    soundfile.write(damaged, np.full(1000, np.nan, np.float32), 16000, "FLOAT")
    (place / "text.wav").write_text("no audio")
    (place / "folder").mkdir()
    before = sorted(place.rglob("*")), audio.read_bytes()
    for arguments in [
        [],
        ["--nonsense"],
        [place / "nowhere", audio, "-o", place / "out.wav"],
        [enhancer, audio],
        [enhancer, place / "nowhere.wav", "-o", place / "out.wav"],
        [enhancer, place / "text.wav", "-o", place / "out.wav"],
        [enhancer, damaged, "-o", place / "out.wav"],
        [enhancer, audio, "-o", audio],
        [enhancer, audio, "-o", place / "out.xyz"],
        [enhancer, audio, "-o", place / "folder"],
        [enhancer, audio, "-o", "-"],
        [enhancer, "-", "-o", "-"],
        [enhancer, "-", "-o", "-", "--raw", "f32le", "--rate", "16000"],
        [enhancer, audio, "-o", place / "out.wav", "--threads", "0"],
        [enhancer, audio, "-o", place / "out.wav", "--limit", "nan"],
        [enhancer, audio, "-o", place / "out.wav", "--consistent"],
        [enhancer, audio, "-o", place / "out.wav", "--backend", "executorch"],
        [separator, audio, "-o", audio],
        [separator, audio, "-o", place / "out.wav", "--source", "violin"],
    ]:
        done = run(*arguments)
        assert done.returncode in (1, 2), arguments
        assert done.stderr.startswith(b"stemedge-run: error: ") and done.stderr.count(b"\n") == 1, done.stderr
        assert (sorted(place.rglob("*")), audio.read_bytes()) == before, arguments
