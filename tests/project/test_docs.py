"""What the documents say is so: commands exist, figures are those measured, nothing names a machine."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {".py", ".md", ".toml", ".json", ".yaml", ".yml", ".kt", ".kts", ".xml", ".sh", ".txt", ".cfg", ""}


def commands(document: Path) -> list[list[str]]:
    """The command lines in the document's code blocks, comments cut off and continued lines joined."""
    # every block, whatever its language: the end of one that was left out would begin another
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)
    lines = "\n".join(text for language, text in blocks if language in ("", "sh", "bash"))
    lines = lines.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:  # not a command: a tree of files, a piece of JSON
            continue
        if words:
            found.append(words)
    return found


ALL = [pytest.param(d, c, id=f"{d.name}: {' '.join(c)}") for d in DOCUMENTS for c in commands(d)]
OURS = [param for param in ALL if param.values[1][0].startswith("edge-")]
MAKE = [param for param in ALL if param.values[1][0] == "make"]


@pytest.mark.parametrize(("document", "command"), OURS)
def test_commands_have_the_options_that_are_shown(document, command, capsys):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert command[0] in scripts, f"{document.name} shows an unknown command: {command[0]}"
    module, function = scripts[command[0]].split(":")
    main = getattr(importlib.import_module(module), function)
    subcommand = command[1:2] if command[0] in ("edge-train", "edge-compress") else []
    with pytest.raises(SystemExit) as exit:
        main([*subcommand, "--help"])
    assert exit.value.code == 0
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", capsys.readouterr().out))
    used = {word.split("=")[0] for word in command[1:] if re.match(r"--?[a-z]", word)}
    assert used <= known, f"{document.name}: {command[0]} has no {', '.join(sorted(used - known))}"


@pytest.mark.parametrize(("document", "command"), MAKE)
def test_make_targets_exist(document, command):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = {word for word in command[1:] if "=" not in word and not word.startswith("-")}
    assert wanted <= targets


def test_the_documents_show_commands_at_all():
    assert {param.values[1][0] for param in OURS} >= {"edge-export", "edge-run", "edge-bench", "edge-train"}
    assert {"demo", "test"} <= {word for param in MAKE for word in param.values[1]}


def test_the_results_in_the_readme_are_those_of_the_report():
    pytest.importorskip("torch")
    from edge.benchmarks.demo import load_report
    from edge.benchmarks.readme import MARKS, SUMMARY_MARKS, markdown, summary

    report = load_report(ROOT / "docs" / "demo.json")
    readme = (ROOT / "README.md").read_text()
    assert MARKS.inside(readme) == markdown(report).strip()
    assert SUMMARY_MARKS.inside(readme) == summary(report)
    for model in report.models:
        assert {row.stage for row in model.rows} == {"before", "after"}
        assert {row.format for row in model.rows if row.stage == "after"} == {"onnx", "executorch"}


def test_links_between_the_files_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which is not there"


def test_no_tracked_file_names_a_place_of_one_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0")[:-1] if Path(name).suffix in TEXT]
    place = re.compile(r"(?<![\w.])/(work|opt|root|home|Users)/\w")
    found = []
    for file in files:
        if file.is_file():
            lines = file.read_text(errors="replace").splitlines()
            found += [f"{file.relative_to(ROOT)}:{n}" for n, line in enumerate(lines, 1) if place.search(line)]
    assert len(files) > 50
    assert not found


def test_the_report_is_json_of_one_machine():
    machine = json.loads((ROOT / "docs" / "demo.json").read_text())["machine"]
    assert machine["processor"] and machine["processors"] >= 1
