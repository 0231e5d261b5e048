"""Bundles: what is written reads back, and everything wrong with one is told in one line."""

import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import GAINS, make_bundle, onnx_run

from edge.bundle import open_bundle, snr_db, write_bundle
from edge.errors import EdgeError, InputError
from edge.manifest import parse_manifest, safe_relative
from edge.runtime.golden import check_golden


@pytest.fixture
def copy(separator_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(separator_path, tmp_path / "copy"))


def edit_manifest(bundle: Path, **changes) -> None:
    file = bundle / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_manifest_survives_json(separator_bundle):
    text = separator_bundle.manifest.to_json()
    again, unknown = parse_manifest(text, "here")
    assert again == separator_bundle.manifest and unknown == []
    assert text.splitlines()[1] == '  "format_version": "1.0",'


@pytest.mark.parametrize("task", ["separate", "enhance"])
@pytest.mark.parametrize("name", ["bundle", "bundle.edge"])
def test_written_bundle_reads_back_and_passes_its_golden_check(tmp_path, task, name):
    path = make_bundle(tmp_path / name, task)
    bundle = open_bundle(path)
    content = bundle.graph_path("onnx").read_bytes()
    assert bundle.manifest.graphs["onnx"].bytes == len(content)
    assert check_golden(bundle, "onnx", onnx_run(content)) > 100
    assert os.listdir(tmp_path) == [name]


def test_golden_check_fails_on_a_wrong_graph(separator_bundle):
    def louder(inputs):
        return [1.01 * GAINS.reshape(1, -1, 1, 1) * inputs[0][:, None]]

    with pytest.raises(EdgeError, match=r"golden check of onnx failed: 40\.0 dB"):
        check_golden(separator_bundle, "onnx", louder)
    with pytest.raises(EdgeError, match="nan dB"):
        check_golden(separator_bundle, "onnx", lambda inputs: [np.nan * louder(inputs)[0]])


def test_snr_db():
    x = np.ones(10, np.float32)
    assert snr_db(x, x) == 200.0
    assert snr_db(x, 0.9 * x) == pytest.approx(20, abs=1e-4)
    assert np.isnan(snr_db(x, np.full(10, np.nan)))


def test_missing_format_is_named(separator_bundle):
    with pytest.raises(InputError, match="no executorch graph"):
        separator_bundle.graph_path("executorch")


@pytest.mark.parametrize("name", ["model.onnx", "golden/input.f32", "MODEL_CARD.md"])
def test_flipped_byte(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        open_bundle(copy)


def test_missing_and_shortened_file(copy):
    content = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(content[:-1])
    with pytest.raises(InputError, match=f"model.onnx has not the {len(content)} bytes"):
        open_bundle(copy)
    (copy / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"model\.onnx is missing"):
        open_bundle(copy)


def test_flipped_byte_in_a_zip(tmp_path):
    path = make_bundle(tmp_path / "b.edge", "separate")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("model.onnx")
    content[info.header_offset + 30 + len(info.filename) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        open_bundle(path)


def test_future_version_names_both(copy):
    edit_manifest(copy, format_version="2.3", task="something new")
    with pytest.raises(InputError, match=r"2\.3 is not supported, this stem-edge reads 1\.0"):
        open_bundle(copy)


def test_unknown_keys_and_minor_version_warn(copy, capsys):
    edit_manifest(copy, format_version="1.9", colour="blue")
    assert open_bundle(copy).manifest.name == "tiny-separate"
    error = capsys.readouterr().err
    assert "1.9" in error and "colour" in error and error.count("\n") == 1


def test_what_a_graph_was_made_in_where_older_bundles_do_not_tell(copy):
    def layers(*precisions):
        return [{"name": f"l{n}", "kind": "conv", "precision": p, "reason": ""} for n, p in enumerate(precisions)]

    told = {("fp16", "fp16", "fp32"): "fp16", ("fp32", "int8-static"): "int8", ("int8-weights",): "int8", (): "fp32"}
    for precisions, expected in told.items():
        edit_manifest(copy, precision="int8", graphs={"onnx": {"file": "model.onnx", "layers": layers(*precisions)}})
        assert open_bundle(copy).manifest.graphs["onnx"].made_in() == expected
    edit_manifest(copy, graphs={"onnx": {"file": "model.onnx", "precision": "int4"}})
    assert open_bundle(copy).manifest.graphs["onnx"].made_in() == "int4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop": "many"}, "hop must be an integer"),
        ({"hop": 0}, "hop must be positive"),
        ({"hop": True}, "hop must be an integer"),
        ({"task": "sing"}, "task is 'sing'"),
        ({"sources": ["a", "../b", "c", "d"]}, r"source '\.\./b' must be"),
        ({"sources": []}, "sources is empty"),
        ({"segment": None}, "segment must be positive"),
        ({"segment": 99}, "hop is longer than segment"),
        ({"channels": 3}, "inputs must be"),
        ({"files": {}}, "files is empty"),
        ({"files": []}, "files must be an object"),
        ({"files": {"../../etc/passwd": {"bytes": 1, "sha256": "0" * 64}}}, "unsafe file path"),
        ({"files": {"x": {"bytes": 1, "sha256": "0" * 64}}}, "used but not listed"),
        ({"graphs": {"tflite": {"file": "model.onnx"}}}, "unknown graph format 'tflite'"),
        ({"graphs": {"onnx": {"file": "/etc/passwd"}}}, "unsafe file path"),
        ({"graphs": {"onnx": {}}}, "graphs.onnx.file is missing"),
        ({"precision": "fp32\n"}, r"precision 'fp32.n' must be"),
        ({"graphs": {"onnx": {"file": "model.onnx", "precision": "a/b"}}}, "precision 'a/b' must be"),
        ({"format_version": 1}, "no valid format_version"),
    ],
)
def test_malformed_manifest_names_the_key(copy, change, message):
    edit_manifest(copy, **change)
    with pytest.raises(InputError, match=message):
        open_bundle(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"format_version": "1.0"}', "[" * 100_000, "\xff\xfe"])
def test_broken_json(copy, text):
    (copy / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError):
        open_bundle(copy)


def test_not_a_bundle(tmp_path):
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError):
            open_bundle(place)
    (tmp_path / "x.edge").write_text("hello")
    with pytest.raises(InputError, match="not a bundle"):
        open_bundle(tmp_path / "x.edge")
    with zipfile.ZipFile(tmp_path / "y.edge", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="not a bundle"):
        open_bundle(tmp_path / "y.edge")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\\x", "C:x", "", ".", "./x", "a//x", "a/"])
def test_unsafe_paths(path):
    assert not safe_relative(path)
    assert safe_relative("golden/input.f32")


def test_rewriting_replaces_the_bundle_but_nothing_else(tmp_path, separator_bundle):
    place = make_bundle(tmp_path / "b", "separate")
    (place / "stale").write_text("x")
    make_bundle(place, "separate")
    assert not (place / "stale").exists() and os.listdir(tmp_path) == ["b"]
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_text("meow")
    with pytest.raises(InputError, match="is not a bundle"):
        make_bundle(other, "separate")
    assert (other / "cat.jpg").read_text() == "meow"


def test_missing_content_is_refused(tmp_path, separator_bundle):
    with pytest.raises(InputError, match=r"model\.onnx"):
        write_bundle(tmp_path / "b", separator_bundle.manifest, {})
    assert os.listdir(tmp_path) == []


FULL_DISK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import conftest, onnx, onnxruntime
from edge.errors import EdgeError
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    conftest.make_bundle(conftest.Path(sys.argv[2]), "separate")
except EdgeError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["b", "b.edge"])
def test_full_disk_leaves_the_old_bundle_and_nothing_else(tmp_path, name):
    """A file-size limit stands in for a full disk: both surface as OSError from write."""
    assert hasattr(resource, "RLIMIT_FSIZE")
    place = make_bundle(tmp_path / name, "separate")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(Path(__file__).parents[1]), str(place)], capture_output=True, text=True
    )
    assert done.stdout.startswith(f"cannot write the bundle {place}: File too large"), done.stderr
    assert os.listdir(tmp_path) == [name]
    assert open_bundle(place).manifest.name == "tiny-separate"
