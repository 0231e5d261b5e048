"""Odd recordings work; bad recordings, bundles and disks get one line and an exit code, and leave nothing.

One command: `python -m pytest tests/cli/test_bad_input.py`. Set EDGE_BUNDLES to folders of your own, separated by the
system's path separator, to run it on those bundles instead of the tiny ones.
"""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

TASKS = ["enhance", "separate"]


@pytest.fixture
def bundle(task, separator_path, enhancer_path) -> Path:
    for place in filter(None, os.environ.get("EDGE_BUNDLES", "").split(os.pathsep)):
        if json.loads((Path(place) / "manifest.json").read_text())["task"] == task:
            return Path(place).resolve()
    return separator_path if task == "separate" else enhancer_path


def run(bundle: Path, source: Path | str, cwd: Path, *options: str, **popen) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "edge.cli.run", str(bundle), str(source), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, **popen)


def refused(done: subprocess.CompletedProcess, code: int, *words: str) -> None:
    """Exit code, and exactly one line on stderr that holds `words`."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("edge-run: error: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stdout == ""


def outputs(task: str, folder: Path, stem: str) -> list[Path]:
    return [folder / f"{stem}_enhanced.wav"] if task == "enhance" else sorted((folder / f"{stem}_stems").iterdir())


def noise(frames: int, channels: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((frames, channels))).astype(np.float32)


ODD = {
    "8-bit": ("WAV", "PCM_U8", 44100, 1, 30_000),
    "24-bit": ("WAV", "PCM_24", 44100, 2, 30_000),
    "32-bit": ("WAV", "PCM_32", 48000, 2, 30_000),
    "double": ("WAV", "DOUBLE", 48000, 2, 30_000),
    "mu-law": ("WAV", "ULAW", 8000, 1, 30_000),
    "96-kHz": ("WAV", "PCM_24", 96000, 2, 100_000),
    "192-kHz": ("FLAC", "PCM_24", 192_000, 2, 100_000),
    "11-kHz": ("WAV", "PCM_16", 11025, 1, 30_000),
    "8-channel": ("WAV", "PCM_16", 48000, 8, 30_000),
    "one-sample": ("WAV", "PCM_16", 44100, 2, 1),
    "one-sample-96-kHz": ("WAV", "PCM_16", 96000, 1, 1),
    "two-samples": ("FLAC", "PCM_16", 8000, 2, 2),
    "aiff": ("AIFF", "PCM_16", 32000, 2, 30_000),
    "ogg": ("OGG", "VORBIS", 44100, 2, 30_000),
    "opus": ("OGG", "OPUS", 48000, 1, 30_000),
    "mp3": ("MP3", None, 44100, 2, 30_000),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ODD)
def test_odd_recordings_work(bundle, task, name, tmp_path):
    format, subtype, rate, channels, frames = ODD[name]
    soundfile.write(tmp_path / "in.audio", noise(frames, channels), rate, subtype, format=format)
    done = run(bundle, "in.audio", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr and "warning" not in done.stderr
    for file in outputs(task, tmp_path, "in"):
        audio, out_rate = soundfile.read(file, always_2d=True)
        assert (out_rate, len(audio)) == (rate, frames)
        assert audio.shape[1] == (min(channels, 2) if task == "separate" else channels)
        assert np.isfinite(audio).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [0, 1])
def test_silence_and_full_scale_work(bundle, task, value, tmp_path):
    soundfile.write(tmp_path / "in.wav", np.full((30_000, 2), value, np.float32), 44100, "FLOAT")
    assert run(bundle, "in.wav", tmp_path).returncode == 0
    for file in outputs(task, tmp_path, "in"):
        assert np.isfinite(soundfile.read(file)[0]).all()


# A fresh process for each length. VmHWM: ru_maxrss of a child would start at its parent's peak.
PEAK = """
import sys
from edge.benchmarks.memory import peak_memory_bytes
from edge.cli.run import main
code = main(sys.argv[1:])
print(peak_memory_bytes())
sys.exit(code)
"""


@pytest.mark.parametrize("task", TASKS)
def test_memory_is_flat_in_the_length(bundle, task, tmp_path):
    """EDGE_LONG_SECONDS=3600 makes it an hour."""
    peaks = []
    for seconds in (20, int(os.environ.get("EDGE_LONG_SECONDS", "240"))):
        with soundfile.SoundFile(tmp_path / "long.wav", "w", 22050, 2, "PCM_16") as file:
            second = noise(22050, 2)
            for _ in range(seconds):
                file.write(second)
        command = [sys.executable, "-c", PEAK, str(bundle), "long.wav", "-o", "out"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
        made = tmp_path / "out"
        for file in sorted(made.rglob("*.wav")):
            assert soundfile.info(file).frames == 22050 * seconds
        shutil.rmtree(made)
    assert peaks[1] < 1.1 * peaks[0], peaks  # 4 minutes of it are 42 MB a signal as float32


def _truncated(file: Path, **options) -> None:
    soundfile.write(file, noise(50_000, 2), 44100, **options)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _nan(file: Path) -> None:
    audio = noise(50_000, 2)
    audio[40_000] = np.nan
    soundfile.write(file, audio, 44100, "FLOAT", format="WAV")


def _zip(file: Path) -> None:
    import zipfile

    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("song.txt", "la la la")


BAD = {
    "missing": (lambda file: None, "no such file"),
    "empty": (lambda file: file.write_bytes(b""), "empty"),
    "folder": (lambda file: file.mkdir(), "not a file"),
    "zero-length": (lambda file: soundfile.write(file, noise(0, 2), 44100, format="WAV"), "no samples"),
    "zero-length-flac": (lambda file: soundfile.write(file, noise(0, 2), 44100, format="FLAC"), ""),
    "truncated-wav": (lambda file: _truncated(file, format="WAV"), "truncated"),
    "truncated-flac": (lambda file: _truncated(file, format="FLAC"), "truncated"),
    "truncated-ogg": (lambda file: _truncated(file, format="OGG"), "truncated"),
    "truncated-mp3": (lambda file: _truncated(file, format="MP3"), "truncated"),
    "truncated-aiff": (lambda file: _truncated(file, format="AIFF"), "truncated"),
    "header-only": (lambda file: file.write_bytes(b"RIFF\x24\0\0\0WAVEfmt "), "not an audio file"),
    "nan": (_nan, "sample 40000 (at 0.907 s) of channel 1 is nan"),
    "text": (lambda file: file.write_text("This is a letter, not a recording.\n" * 100), "not an audio file"),
    "random": (lambda file: file.write_bytes(np.random.default_rng(0).bytes(50_000)), "not an audio file"),
    "zip": (_zip, "not an audio file"),
    "program": (lambda file: shutil.copy(sys.executable, file), "not an audio file"),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", BAD)
def test_bad_recordings_are_refused(bundle, task, name, tmp_path):
    make, words = BAD[name]
    make(tmp_path / "in.wav")
    before = sorted(os.listdir(tmp_path))
    refused(run(bundle, "in.wav", tmp_path), 2, "in.wav", words)
    assert sorted(os.listdir(tmp_path)) == before


def _flip(copy: Path) -> None:
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 3] ^= 0x10
    (copy / "model.onnx").write_bytes(content)


def _edit(copy: Path, **changes) -> None:
    file = copy / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


BAD_BUNDLES = {
    "flipped byte": (_flip, "model.onnx is damaged"),
    "missing file": (lambda copy: (copy / "model.onnx").unlink(), "model.onnx is missing"),
    "future version": (lambda copy: _edit(copy, format_version="7.0"), "7.0 is not supported"),
    "no manifest": (lambda copy: (copy / "manifest.json").unlink(), "not a bundle"),
    "half a manifest": (lambda copy: (copy / "manifest.json").write_text('{"format_'), "not valid JSON"),
    "wrong type": (lambda copy: _edit(copy, sample_rate="fast"), "sample_rate must be an integer"),
    "no bundle": (shutil.rmtree, "no such bundle"),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_bad_bundles_are_refused(bundle, task, name, tmp_path):
    spoil, words = BAD_BUNDLES[name]
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    spoil(copy)
    soundfile.write(tmp_path / "in.wav", noise(1000, 2), 44100)
    before = sorted(os.listdir(tmp_path))
    refused(run("bundle", "in.wav", tmp_path), 2, words)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("task", TASKS)
def test_file_size_limit_is_a_failure(bundle, task, tmp_path):
    """Needs no rights: a limit on file sizes makes writes fail as a full disk does."""
    soundfile.write(tmp_path / "in.wav", noise(200_000, 2), 44100)
    limit = 400_000
    done = run(bundle, "in.wav", tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    refused(done, 1, "cannot write", "File too large")
    assert os.listdir(tmp_path) == ["in.wav"]


@contextlib.contextmanager
def small_disk(place: Path):
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk; the file-size limit above stands in for it")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_full_disk_is_a_failure(bundle, task, extension, tmp_path):
    soundfile.write(tmp_path / "in.wav", noise(400_000, 2), 44100)
    with small_disk(tmp_path / "disk"):
        out = f"disk/out.{extension}" if task == "enhance" else "disk/out"
        refused(run(bundle, "in.wav", tmp_path, "-o", out), 1, "cannot write", "No space left on device")
        assert os.listdir(tmp_path / "disk") == []
        soundfile.write(tmp_path / "short.wav", noise(1000, 2), 44100)
        assert run(bundle, "short.wav", tmp_path, "-o", out).returncode == 0


@pytest.mark.parametrize("task", TASKS)
def test_unusable_outputs_are_refused(bundle, task, tmp_path):
    soundfile.write(tmp_path / "in.wav", noise(1000, 2), 44100)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    refused(run(bundle, "in.wav", tmp_path, "-o", "in.wav"), 2, "in.wav")
    refused(run(bundle, "in.wav", tmp_path, "-o", "file/x.wav"), 1, "cannot write")
    if task == "enhance":
        refused(run(bundle, "in.wav", tmp_path, "-o", "out.xyz"), 2, "unknown output extension")
    else:
        refused(run(bundle, "in.wav", tmp_path, "-o", "file"), 2, "is a file")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "in.wav"]
    assert (tmp_path / "file").read_text() == "mine"
