"""The comparison with the demucs package, on a small configuration of the same network."""

from dataclasses import replace
from fractions import Fraction

import pytest


@pytest.mark.slow
def test_measures_all_beside_the_demucs_package(tmp_path, monkeypatch):
    pytest.importorskip("demucs.htdemucs")
    pytest.importorskip("executorch.exir")
    from edge.benchmarks import htdemucs
    from edge.benchmarks.docs import full_size
    from edge.models.htdemucs import HTDemucsConfig

    small = HTDemucsConfig(channels=16, bottom_channels=64, t_layers=2, t_heads=4, dconv_comp=4, segment=Fraction(1))
    found = htdemucs.run(tmp_path, threads=1, seconds=0.5, launches=1, config=small, cpu="x86")
    rival = found["rivals"][htdemucs.PACKAGE]
    assert len(rival["seconds_rounds"]) == found["settings"]["rounds"] and rival["parameters"] > 0
    names = [htdemucs.case_name(r) for r in found["results"]]
    made = ("p00-fp32", "p50-fp32", "p50-auto-x86")
    assert names == [f"htdemucs-{m} {b}" for m in made for b in ("onnx", "executorch")]
    assert list(rival["speedup"]) == names
    assert all(r["low"] <= r["value"] <= r["high"] for r in rival["speedup"].values())
    assert len(htdemucs.rows(found)) == 8
    lines = htdemucs.above_floor(found)
    assert "convolution" in lines[0] and "XNNPACK" in lines[1]
    assert "demucs package" in full_size(found)
    other = replace(small, dconv_depth=1)  # which the demucs package is not told
    monkeypatch.setattr(htdemucs, "VARIANTS", htdemucs.VARIANTS[:1])
    with pytest.raises(htdemucs.EdgeError, match="another network"):
        htdemucs.run(tmp_path, threads=1, seconds=0.1, launches=1, config=other, cpu="x86")
