"""The bundles inside the wheel: found by name, whole, of the present weights."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import edge
from edge.bundle import open_bundle
from edge.bundles import find_bundle, list_bundles, shipped, stale
from edge.cli.run import main
from edge.errors import InputError
from edge.manifest import FORMAT_VERSION

PACKAGE = Path(edge.__file__).parent


def test_they_are_of_the_present_weights():
    """`make bundles` makes them anew."""
    assert shipped() == ["enhancer", "htdemucs-mini"] and stale(PACKAGE / "weights") == []
    for name in shipped():
        manifest = open_bundle(name).manifest
        assert manifest.name == name and manifest.format_version == FORMAT_VERSION
        assert set(manifest.graphs) == {"onnx", "executorch"} and manifest.compression.prune_ratio == 0.5


def test_a_bundle_of_the_users_goes_first(enhancer_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_bundle("enhancer").path == PACKAGE / "bundles" / "enhancer"
    Path("enhancer.edge").write_bytes(b"")
    assert find_bundle("enhancer") == Path("enhancer.edge")
    Path("enhancer").symlink_to(enhancer_path)
    assert open_bundle("enhancer").manifest.name == "tiny-enhance"
    with pytest.raises(InputError, match="no such bundle; by name there are enhancer, htdemucs-mini"):
        open_bundle("enhance")


def test_list(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *shipped()] and max(map(len, lines)) <= 100
    assert list_bundles().splitlines() == lines


def test_a_result_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noisy = PACKAGE / "samples" / "speech_noisy.flac"
    assert main(["enhancer", str(noisy), "-o", "clean.wav"]) == 0
    audio, rate = soundfile.read("clean.wav")
    assert rate == 16000 and len(audio) == soundfile.info(noisy).frames and np.abs(audio).max() > 0.01
