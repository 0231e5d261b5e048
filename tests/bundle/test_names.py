"""Names, folders and batches of edge-run: nothing of value is written over, whatever the order or the link."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.cli.run import main
from edge.outputs import remove_leftovers
from edge.runtime.batch import fitting

SOURCES = ["bass.wav", "drums.wav", "other.wav", "vocals.wav"]


def noise(frames: int = 4000, channels: int = 1, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, channels))).astype(np.float32)


def write(path: Path | str, seed: int = 0) -> bytes:
    """A recording; its content."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), noise(seed=seed), 16000, "FLOAT", format="WAV")
    return path.read_bytes()


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(bundle: Path, *arguments: object) -> int:
    return main([str(bundle), *map(str, arguments)])


def refused(capsys, code: int, *words: str) -> None:
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and all(word in error for word in words), error


ALIASES = {
    "itself": lambda: Path("b.wav"),
    "another way": lambda: Path("sub/../b.wav"),
    "absolute": lambda: Path("b.wav").absolute(),
    "symbolic link": lambda: (Path("link.wav").symlink_to("b.wav"), Path("link.wav"))[1],
    "hard link": lambda: (os.link("b.wav", "hard.wav"), Path("hard.wav"))[1],
    "linked folder": lambda: (Path("folder").symlink_to("."), Path("folder/b.wav"))[1],
}


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_is_the_input_by_any_way_is_refused(enhancer_path, here, capsys, alias, overwrite):
    content = write("b.wav")
    Path("sub").mkdir()
    output = ALIASES[alias]()
    code = run(enhancer_path, "b.wav", "-o", output, *(["--overwrite"] if overwrite else []))
    refused(capsys, code, "is the input")
    assert Path("b.wav").read_bytes() == content


@pytest.mark.parametrize("order", [["talk.wav", "talk_enhanced.wav"], ["talk_enhanced.wav", "talk.wav"]])
@pytest.mark.parametrize("overwrite", [False, True])
def test_no_input_of_a_run_is_overwritten_whatever_the_order(enhancer_path, here, capsys, order, overwrite):
    before = {name: write(name, seed) for seed, name in enumerate(order)}
    code = run(enhancer_path, *order, *(["--overwrite"] if overwrite else []))
    refused(capsys, code, "talk_enhanced.wav")
    assert {name: Path(name).read_bytes() for name in order} == before
    assert sorted(os.listdir()) == sorted(order)


def test_a_stem_that_is_named_as_the_input(separator_path, here, capsys):
    content = write("vocals.wav")
    assert run(separator_path, "vocals.wav", "-o", ".") == 0
    assert Path("vocals.wav").read_bytes() == content and sorted(os.listdir("vocals_stems")) == SOURCES
    refused(capsys, run(separator_path, "vocals_stems/vocals.wav", "-o", ".", "--name", "vocals_stems"), "is the input")


@pytest.mark.parametrize("template", ["{stem}", "b"])
def test_a_template_that_names_the_input(enhancer_path, here, capsys, template):
    content = write("b.wav")
    refused(capsys, run(enhancer_path, "b.wav", "--name", template, "--overwrite"), "is the input")
    assert Path("b.wav").read_bytes() == content


def test_a_chosen_name_replaces_nothing_unless_asked(enhancer_path, here, capsys):
    write("a.wav")
    Path("a_enhanced.wav").write_text("mine")
    refused(capsys, run(enhancer_path, "a.wav"), "--overwrite", "--resume")
    assert Path("a_enhanced.wav").read_text() == "mine"
    assert run(enhancer_path, "a.wav", "--overwrite") == 0
    assert soundfile.info("a_enhanced.wav").frames == 4000
    Path("mine.wav").write_text("mine")
    assert run(enhancer_path, "a.wav", "-o", "mine.wav") == 0  # the user named it
    assert soundfile.info("mine.wav").frames == 4000


def test_a_folder_of_stems_that_is_there(separator_path, here, capsys):
    write("a.wav")
    Path("a_stems").mkdir()
    Path("a_stems/bass.wav").write_text("mine")
    refused(capsys, run(separator_path, "a.wav"), "bass.wav exists")
    assert run(separator_path, "a.wav", "--resume") == 0  # adds what is missing
    assert Path("a_stems/bass.wav").read_text() == "mine" and sorted(os.listdir("a_stems")) == SOURCES


@pytest.mark.parametrize("names", [["a.wav"], ["a.wav", "b.wav"]])
def test_a_folder_means_the_same_for_one_and_for_many(enhancer_path, separator_path, here, names):
    for name in names:
        write(f"in/{name}")
    inputs = [f"in/{name}" for name in names]
    for output in ("there", "new/"):
        Path("there").mkdir(exist_ok=True)
        assert run(enhancer_path, *inputs, "-o", output) == 0
        assert run(separator_path, *inputs, "-o", output) == 0
        made = [f"{name[0]}_enhanced.wav" for name in names] + [f"{name[0]}_stems" for name in names]
        assert sorted(os.listdir(output)) == sorted(made)


def test_results_lie_beside_the_input(enhancer_path, here):
    write("in/a.wav")
    assert run(enhancer_path, "in/a.wav") == 0
    assert sorted(os.listdir("in")) == ["a.wav", "a_enhanced.wav"] and os.listdir() == ["in"]


def test_folders_recursive(enhancer_path, here, capsys):
    write("in/x/a.wav")
    write("in/y/a.wav")
    Path("in/letter.txt").write_text("no recording")
    refused(capsys, run(enhancer_path, "in"), "--recursive")
    assert run(enhancer_path, "in", "--recursive", "-o", "out") == 0
    assert sorted(str(p) for p in Path("out").rglob("*.wav")) == ["out/x/a_enhanced.wav", "out/y/a_enhanced.wav"]
    assert run(enhancer_path, "in", "--recursive", "-o", "flat", "--name", "{parent}-{stem}") == 0
    assert sorted(os.listdir("flat")) == ["x-a.wav", "y-a.wav"]
    assert run(enhancer_path, "in", "--recursive") == 0
    capsys.readouterr()
    assert run(enhancer_path, "in", "--recursive", "--resume") == 0  # does not enhance what it has enhanced
    assert "2 recordings: 0 done, 2 skipped" in capsys.readouterr().out


def test_equal_names_are_told(enhancer_path, here, capsys):
    write("x/a.wav")
    write("y/a.wav")
    refused(capsys, run(enhancer_path, "x/a.wav", "y/a.wav", "-o", "out"), "would both become", "{parent}-{stem}")
    assert run(enhancer_path, "x/a.wav", "y/a.wav", "-o", "out", "--name", "{parent}-{stem}") == 0
    refused(capsys, run(enhancer_path, "x/a.wav", "--name", "{nonsense}"), "--name")
    refused(capsys, run(enhancer_path, "x/a.wav", "--name", "../{stem}"), "--name")


@pytest.mark.parametrize("stem", ["ä" * 125, "x" * 251, "-dash", " ", "a\nb", "*?[x]", "-"])
def test_unusual_names(enhancer_path, separator_path, here, stem):
    name = f"{stem}.wav" if stem != "-" else "-"
    write(here / name)
    for bundle in (enhancer_path, separator_path):
        assert main(["--json", str(bundle), f"./{name}"]) == 0
    made = [entry for entry in os.listdir() if entry != name]
    assert len(made) == 2 and all(len(os.fsencode(entry)) <= 255 for entry in made)


def test_a_leading_dash_after_two_dashes(enhancer_path, here):
    write("-x.wav")
    assert main([str(enhancer_path), "--", "-x.wav"]) == 0
    assert Path("-x_enhanced.wav").exists()


def test_names_that_are_no_text_on_a_terminal_that_has_ascii_only(enhancer_path, here):
    name = b"caf\xe9 \xff.wav"
    write(Path(os.fsdecode(name)))
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-m", "edge.cli.run", str(enhancer_path), os.fsdecode(name)]
    done = subprocess.run(command, capture_output=True, cwd=here, env=environment)
    assert done.returncode == 0, done.stderr
    assert os.path.exists(b"caf\xe9 \xff_enhanced.wav")


def test_fitting_cuts_between_characters():
    assert fitting("ü" * 200, "_enhanced.wav") == "ü" * 121
    assert fitting("short", "_stems") == "short"


def test_a_symbolic_link_as_output_stays_one(enhancer_path, here):
    write("a.wav")
    for target in ("there.wav", "new.wav"):
        Path("link.wav").unlink(missing_ok=True)
        Path("link.wav").symlink_to(target)
        assert run(enhancer_path, "a.wav", "-o", "link.wav") == 0
        assert Path("link.wav").is_symlink() and soundfile.info(target).frames == 4000


def test_fifos_in_and_out(enhancer_path, here):
    content = write("a.wav")
    os.mkfifo("in.fifo")
    os.mkfifo("out.fifo")
    threading.Thread(target=lambda: Path("in.fifo").write_bytes(content), daemon=True).start()
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("out.fifo").read_bytes()), daemon=True)
    reader.start()
    assert run(enhancer_path, "in.fifo", "-o", "out.fifo") == 0
    reader.join(20)
    assert len(got[0]) == 44 + 4 * 4000
    np.testing.assert_array_equal(np.frombuffer(got[0][44:], "<f4"), 0.5 * noise()[:, 0])


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_a_file_to_a_pipe_and_a_pipe_to_a_file(enhancer_path, here, output):
    write("a.wav")
    line = (
        f"{sys.executable} -m edge.cli.run {enhancer_path} a.wav -o {output} | "
        f"{sys.executable} -m edge.cli.run {enhancer_path} - -o b.wav"
    )
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, cwd=here)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(soundfile.read("b.wav", dtype="float32")[0], 0.25 * noise()[:, 0])


def test_a_result_into_a_redirected_stdout(enhancer_path, here):
    write("a.wav")
    line = f"{sys.executable} -m edge.cli.run {enhancer_path} a.wav -o /dev/stdout > out.wav"
    assert subprocess.run(["bash", "-c", line], cwd=here).returncode == 0
    assert len(Path("out.wav").read_bytes()) == 44 + 4 * 4000


def test_a_pipe_into_stems(separator_path, here):
    content = write("a.wav")
    line = f"{sys.executable} -m edge.cli.run {separator_path} - -o stems"
    assert subprocess.run(line, shell=True, input=content, cwd=here).returncode == 0
    assert sorted(os.listdir("stems")) == SOURCES


def test_what_a_killed_run_left_is_removed_by_the_next(enhancer_path, separator_path, here):
    write("a.wav")
    Path(".edge-0123abcd.tmp.wav").write_text("half")
    Path(".edge-0123abce.tmp").mkdir()
    Path(".edge-0123abce.tmp/bass.wav.part").write_text("half")
    Path(".hidden.tmp").write_text("mine")
    assert run(enhancer_path, "a.wav") == 0
    assert sorted(os.listdir()) == [".hidden.tmp", "a.wav", "a_enhanced.wav"]


def test_what_a_running_process_holds_is_left(here):
    fcntl = pytest.importorskip("fcntl")
    with open(".edge-0123abcd.tmp.wav", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        remove_leftovers(here)
        assert os.listdir() == [".edge-0123abcd.tmp.wav"]
    remove_leftovers(here)
    assert os.listdir() == []


def test_a_report_of_every_file(enhancer_path, here, capsys):
    write("a.wav")
    Path("bad.wav").write_text("no audio")
    assert run(enhancer_path, "a.wav", "bad.wav", "missing.wav", "--json") == 2
    reports = json.loads(capsys.readouterr().out)
    assert [report["status"] for report in reports] == ["done", "failed", "failed"]
    assert "no such file" in reports[2]["error"]
    assert run(enhancer_path, "bad.wav", "--json") == 2
    assert json.loads(capsys.readouterr().out)["status"] == "failed"
    shutil.rmtree(here / "nothing", ignore_errors=True)
    assert run(enhancer_path, "a.wav", "bad.wav", "--overwrite") == 2
    assert "2 recordings: 1 done, 1 failed (bad.wav:" in capsys.readouterr().out
