"""The wheel of a clean checkout, installed with the runtime's dependencies alone: complete, and never torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[2]
PARTS = {"edge": "edge"} | {part: f"edge/{part}" for part in ("benchmarks", "compression", "export", "training")}
WORKBENCH = ("torch", "torchao", "onnx", "onnxscript", "torch_pruning", "safetensors", "demucs", "scipy")

pytestmark = pytest.mark.slow


def run(*command: str | Path, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # Nothing of the environment that runs the tests may leak into the new one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\0"
    )[:-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tracked files alone, so that nothing left over in the working tree gets in."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        source = ROOT / name
        if source.is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, checkout / name)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", checkout, "--no-deps", "-q", "-w", out)
    (path,) = out.glob("stem_edge-*.whl")
    return path


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that has the runtime only."""
    place = tmp_path_factory.mktemp("device") / "venv"
    venv.create(place, with_pip=True)
    commands = place / ("Scripts" if os.name == "nt" else "bin")
    run(commands / "python", "-m", "pip", "install", "-q", wheel)
    return commands


def test_the_wheel_holds_every_module_weight_and_sample(wheel):
    expected = set()
    for name in tracked():
        top, _, rest = name.partition("/")
        if name.startswith("edge/native/") and not name.endswith(".py"):
            continue  # the C++ sources are built from the repository
        if top in PARTS and rest:
            expected.add(f"{PARTS[top]}/{rest}")
    assert {"edge/weights/enhancer.safetensors", "edge/samples/song/mixture.flac"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_nothing_of_the_workbench_is_installed_or_needed(device, tmp_path):
    code = (
        "import importlib.util, sys\n"
        f"print([name for name in {WORKBENCH!r} if importlib.util.find_spec(name)])\n"
        "import edge, edge.audio, edge.bundle, edge.runtime.files, edge.benchmarks.runner\n"
        "print(edge.__file__)"
    )
    found, file = run(device / "python", "-c", code, cwd=tmp_path).stdout.splitlines()
    assert found == "[]"
    assert Path(file).is_relative_to(device.parent)


def test_bundles_run_and_are_measured(device, enhancer_path, separator_path, tmp_path):
    for command in ("edge-run", "edge-bench"):
        assert "usage" in run(device / command, "--help", cwd=tmp_path).stdout
    noisy = ROOT / "edge" / "samples" / "speech_noisy.flac"
    run(device / "edge-run", enhancer_path, noisy, "-o", "clean.wav", cwd=tmp_path)
    assert soundfile.info(tmp_path / "clean.wav").frames == soundfile.info(noisy).frames
    mixture = ROOT / "edge" / "samples" / "song" / "mixture.flac"
    run(device / "edge-run", separator_path, mixture, "-o", "stems", cwd=tmp_path)
    assert len(list((tmp_path / "stems" / "mixture_stems").iterdir())) == 4
    done = run(device / "edge-bench", enhancer_path, separator_path, "--seconds", "0.1", "--json", cwd=tmp_path)
    results = json.loads(done.stdout)["results"]
    assert [result["name"] for result in results] == ["tiny-enhance", "tiny-separate"]
    assert all(result["rtf"] > 0 for result in results)


@pytest.mark.parametrize("command", ["edge-export", "edge-demo", "edge-compress search enhancer --target-mb 1"])
def test_commands_of_the_workbench_say_in_one_line_what_to_install(device, command, tmp_path):
    name, *arguments = command.split()
    done = run(device / name, *arguments, code=2, cwd=tmp_path)
    assert done.stderr.count("\n") == 1
    assert 'pip install "stem-edge[export]"' in done.stderr
    assert not list(tmp_path.iterdir())


def test_training_says_what_to_install(device, tmp_path):
    done = run(device / "edge-train", "enhancer", "--out", "run", "--steps", "1", code=2, cwd=tmp_path)
    assert "stem-edge[training]" in done.stderr
    assert "Traceback" not in done.stderr
