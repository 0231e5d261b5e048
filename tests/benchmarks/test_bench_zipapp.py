"""The single file for devices runs with NumPy and ONNX Runtime alone."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge.benchmarks.zipapp import write_zipapp

ALONE = ("numpy", "numpy.libs", "onnxruntime")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("device") / "edge-bench.pyz"
    write_zipapp(path)
    return path


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with links to the two packages, for an interpreter that sees no other."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ALONE:
        spec = importlib.util.find_spec(name.split(".")[0])
        source = Path(spec.origin).parent.parent / name
        if source.exists():
            (folder / name).symlink_to(source)
    return folder


def device(packages: Path, *arguments) -> subprocess.CompletedProcess:
    environment = {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-s", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=packages)


def test_measures_with_numpy_and_onnxruntime_alone(archive, packages, both_enhancer_path, tmp_path):
    others = "('edge', 'tqdm', 'soundfile', 'torch')"
    code = f"import importlib.util as u; print([name for name in {others} if u.find_spec(name)])"
    found = device(packages, "-c", code)
    assert found.stdout == "[]\n", found.stderr
    report = tmp_path / "device.json"
    done = device(packages, archive, both_enhancer_path, "--seconds", "0.2", "--launches", "1", "--json", report,
                  "--html", tmp_path / "device.html")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1 and "executorch is skipped" in done.stderr
    content = json.loads(report.read_text())
    assert [r["backend"] for r in content["results"]] == ["onnx"]
    assert content["results"][0]["golden_snr_db"] > 60 and content["peaks"]
    done = device(packages, archive, "compare", report, report)
    assert done.returncode == 0 and "tiny-enhance" in done.stdout


def test_says_what_is_missing(archive, tmp_path):
    done = device(tmp_path, archive, "bundle")
    assert done.returncode == 1
    assert done.stderr == "edge-bench: error: install what is missing: pip install numpy onnxruntime\n"


def test_is_small_and_repeatable(archive, tmp_path):
    write_zipapp(tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == archive.read_bytes()
    assert archive.stat().st_size < 1_000_000
    with zipfile.ZipFile(archive) as files:
        names = files.namelist()
    assert "tqdm/LICENCE" in names and not any("models" in name or "samples" in name for name in names)
