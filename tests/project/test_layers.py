"""`make lint` holds the layers apart: edge < compression < export < training < benchmarks < commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")
ROOT = Path(__file__).parents[2]
RUN = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package in the shape in which it is imported."""
    place = tmp_path_factory.mktemp("layers")

    def only_python(folder: str, names: list[str]) -> list[str]:
        kept = [n for n in names if n.endswith(".py") or os.path.isdir(os.path.join(folder, n))]
        return [n for n in names if n not in kept or n == "__pycache__"]

    shutil.copytree(ROOT / "edge", place / "edge", ignore=only_python)
    for part in ("benchmarks", "compression", "export", "training"):
        shutil.copytree(ROOT / part, place / "edge" / part, ignore=only_python)
    return place


def lint(tree: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", RUN, str(ROOT / "pyproject.toml"), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True)


def test_no_layer_imports_one_above_it(tree):
    result = lint(tree)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("runtime/streams", "compression.prune"),
        ("models/bag", "export.lower"),
        ("compression/cost", "export.graph"),
        ("export/card", "training.loop"),
        ("training/losses", "benchmarks.stats"),
        ("benchmarks/stats", "cli.run"),
        ("bundle", "cli.export"),
    ],
)
def test_an_import_from_above_is_found(tree, lower, upper):
    """Also one that waits inside a function."""
    file = tree / "edge" / f"{lower}.py"
    before = file.read_text()
    file.write_text(f"{before}\n\ndef planted():\n    import edge.{upper}\n")
    try:
        result = lint(tree)
    finally:
        file.write_text(before)
    assert result.returncode == 1
    assert f"edge.{lower.replace('/', '.')} -> edge.{upper}" in result.stdout


def test_make_lint_asks_for_it():
    assert "lint-imports" in (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
