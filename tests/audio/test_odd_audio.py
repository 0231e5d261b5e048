"""The table of odd audio: what it makes of graphs that follow the reference, and of some that do not."""

import numpy as np
import pytest

from edge.benchmarks import odd_audio
from edge.bundle import open_bundle
from edge.errors import InputError


@pytest.mark.parametrize("path", ["separator_path", "enhancer_path"])
def test_a_graph_follows_itself_on_all_kinds(path, request):
    content = odd_audio.measure([open_bundle(request.getfixturevalue(path))])
    results = content["results"]
    expected = odd_audio.KINDS | (odd_audio.STEREO if path == "separator_path" else {})
    assert [r["kind"] for r in results] == list(expected) and all(r["good"] for r in results)
    silent = {r["kind"] for r in results if r["snr_db"] is None}
    assert "digital silence" in silent and not silent - {"digital silence"}
    assert odd_audio.closing(content).endswith("all are.")


def test_what_does_not_follow_is_marked():
    sound, rng = np.sin(np.arange(1000)), np.random.default_rng(0)
    near, nothing = sound + 0.01 * rng.standard_normal(1000), np.zeros(1000)
    usual = odd_audio.compared(sound, near)["snr_db"]
    assert 35 < usual < 40
    cases = [(sound, near), (sound, sound + 0.1), (nothing, nothing), (nothing, 0.01 * sound), (sound, near * np.nan)]
    found = [odd_audio.compared(expected, got) for expected, got in cases]
    assert [odd_audio.is_good(each, usual) for each in found] == [True, False, True, False, False]
    cells = [odd_audio._cell(each | {"good": odd_audio.is_good(each, usual)}) for each in found]
    assert cells[1:] == ["17.0 !", "silent", "-43 dBFS !", "not finite !"]


def test_a_reference_is_needed(separator_path, monkeypatch):
    bundle = open_bundle(separator_path)
    monkeypatch.setattr(type(bundle.manifest.graphs["onnx"]), "made_in", lambda self: "int8")
    with pytest.raises(InputError, match="reference is missing"):
        odd_audio.measure([bundle])
