"""docs/examples: what any program needs to run a bundle; they say the same as the runtime, and are short."""

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from conftest import HOP, make_bundle

from edge.bundle import snr_db
from edge.runtime.files import run_file

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def write_wav(path, audio, rate):
    with wave.open(str(path), "wb") as file:
        file.setparams((audio.shape[0], 2, rate, 0, "NONE", ""))
        file.writeframes((audio.T * 32767).astype("<i2").tobytes())


def read_wav(path):
    with wave.open(str(path)) as file:
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    return audio.T.astype(np.float32) / 32768


def example(name, *arguments):
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def noise(channels, length, seed=0):
    audio = np.random.default_rng(seed).uniform(-0.3, 0.3, (channels, length))
    audio[:, length // 3 : length // 2] = 0
    return audio.astype(np.float32)


@pytest.mark.parametrize("name", ["separate", "enhance"])
def test_an_example_is_a_plain_program_of_at_most_80_lines(name):
    lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 80
    imports = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imports <= {"json", "sys", "wave", "pathlib", "numpy", "onnxruntime"}


@pytest.mark.parametrize("length", [1000, 4410, 14321])
def test_separate_gives_what_the_runtime_gives(tmp_path, length):
    bundle = make_bundle(tmp_path / "b", "separate")
    write_wav(tmp_path / "song.wav", noise(2, length), 44100)
    run = example("separate", bundle, tmp_path / "song.wav", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    from edge.bundle import open_bundle

    run_file(open_bundle(bundle), tmp_path / "song.wav", tmp_path / "ours", "onnx")
    for ours in sorted((tmp_path / "ours").iterdir()):
        assert snr_db(_any_wav(ours), read_wav(tmp_path / "out" / ours.name)) > 60


@pytest.mark.parametrize("length", [HOP // 2, 10 * HOP, 50 * HOP + 17])
def test_enhance_gives_what_the_runtime_gives(tmp_path, length):
    bundle = make_bundle(tmp_path / "b", "enhance")
    write_wav(tmp_path / "in.wav", noise(1, length), 16000)
    run = example("enhance", bundle, tmp_path / "in.wav", tmp_path / "out.wav")
    assert run.returncode == 0, run.stderr
    from edge.bundle import open_bundle

    run_file(open_bundle(bundle), tmp_path / "in.wav", tmp_path / "ours.wav", "onnx")
    assert snr_db(_any_wav(tmp_path / "ours.wav"), read_wav(tmp_path / "out.wav")) > 55


def test_a_wrong_rate_is_told(tmp_path):
    bundle = make_bundle(tmp_path / "b", "separate")
    write_wav(tmp_path / "song.wav", noise(2, 500), 48000)
    run = example("separate", bundle, tmp_path / "song.wav", tmp_path / "out")
    assert run.returncode == 1 and "44100 Hz" in run.stderr and "Traceback" not in run.stderr


def _any_wav(path):
    import soundfile

    return soundfile.read(path, always_2d=True, dtype="float32")[0].T
