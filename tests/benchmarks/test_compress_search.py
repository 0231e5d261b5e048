"""find_ratio finds the smallest ratio; the sensitivity scan quantizes one group at a time."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_compress_report import separator

from edge import samples
from edge.benchmarks.compression import search, sensitivity
from edge.benchmarks.compression.search import Trial, find_ratio
from edge.benchmarks.documents import write_json
from edge.cli import compress as command
from edge.compression.precisions import plan_precision
from edge.errors import InputError
from edge.export.architectures import interface_of
from edge.export.graph import example_inputs
from edge.export.lower import lower
from edge.export.pipeline import ExportOptions
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucsConfig
from edge.zoo import Model

INT8 = ExportOptions(precision="int8", formats=("onnx",))


def enhancer() -> Model:
    torch.manual_seed(0)
    return Model("enhancer", Enhancer().eval(), "MIT", "none")


@given(st.floats(0.2, 20), st.sampled_from([0.05, 0.1, 0.01]), st.floats(0, 0.5))
def test_the_smallest_ratio_on_the_grid_is_found_in_few_exports(target, step, start):
    def size(ratio: float) -> float:
        return 10 * (1 - ratio) ** 2 + 0.05

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_try", lambda model, options, ratio, *_: Trial(ratio, size(ratio), None))
        options = ExportOptions(prune=start, formats=("onnx",))
        if size(0.9) > target:
            with pytest.raises(InputError, match=r"pruning by 0\.9.*best 0\.15 MB"):
                find_ratio(enhancer, options, target_mb=target, step=step)
            return
        found = find_ratio(enhancer, options, target_mb=target, step=step)
    assert size(found.ratio) <= target
    grid = itertools.accumulate(range(100), lambda ratio, _: round(ratio + step, 4), initial=start)
    assert all(size(ratio) > target for ratio in grid if ratio < found.ratio - 1e-3)
    assert len(found.trials) <= 2 + math.ceil(math.log2(1 + 1 / step))
    assert found.ratio in [trial.ratio for trial in found.trials]


def test_both_targets_must_be_met_and_bad_ones_are_refused(monkeypatch):
    def attempt(model, options, ratio, timed, *_):
        return Trial(ratio, 10 * (1 - ratio), (1 - ratio) if timed else None)

    monkeypatch.setattr(search, "_try", attempt)
    assert find_ratio(enhancer(), INT8, target_mb=8, target_rtf=0.4).ratio == 0.6
    assert find_ratio(enhancer(), INT8, target_mb=2, target_rtf=0.9).ratio == 0.8
    assert find_ratio(enhancer(), INT8, target_mb=11).ratio == 0
    with pytest.raises(InputError, match=r"--target-rtf 0\.05 \(best 0\.1\) in int8"):
        find_ratio(enhancer(), INT8, target_mb=8, target_rtf=0.05)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--target-mb must be a positive number"):
            find_ratio(enhancer(), INT8, target_mb=bad)
    with pytest.raises(InputError, match="needs a target"):
        find_ratio(enhancer(), INT8)


def test_a_search_measures_real_exports(tmp_path, monkeypatch, capsys):
    torch.set_num_threads(1)
    monkeypatch.setattr("edge.zoo.load_model", lambda *_: separator())
    found = find_ratio(separator(), INT8, target_mb=100, target_rtf=50, step=0.9, seconds=0.2, folder=tmp_path)
    assert found.ratio == 0 and [t.ratio for t in found.trials] == [0, 0.9]
    sizes = [trial.megabytes for trial in found.trials]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx((tmp_path / "tiny-p00-int8-arm64" / "model.onnx").stat().st_size / 1e6)
    assert all(0 < trial.rtf < 50 for trial in found.trials)
    assert command.main(["search", "tiny", "--target-mb", "0.001", "-o", str(tmp_path)]) == 2
    assert f"best {sizes[1]:.3g} MB" in capsys.readouterr().err


def with_transformer() -> Model:
    config = HTDemucsConfig(segment=Fraction(1, 2), channels=8, bottom_channels=16, t_layers=1, t_heads=2)
    return separator(config=config)


@pytest.mark.parametrize(("make", "segment"), [(with_transformer, 22050), (enhancer, None)])
def test_the_groups_hold_every_int8_layer_once(make, segment):
    network = make().network
    example = example_inputs(interface_of(network))
    plan = plan_precision(lower(network, segment, "onnx"), "int8", "onnx", "arm64", example)
    found = sensitivity.groups(plan)
    layers = [layer for group in found.values() for layer in group]
    assert sorted(layers) == sorted(p.name for p in plan if p.precision != "fp32")
    assert len(set(layers)) == len(layers) and len(found) < 0.75 * len(layers)
    name, within = ("recurrences.0", "recurrences.0") if segment is None else ("layers.0.attention", "layers.0")
    assert {layer.rsplit(".", 1)[0].removesuffix(".attention") for layer in found[name]} == {within}
    part = sensitivity.only(plan, found[name])
    assert [p.name for p in part if p.precision != "fp32"] == found[name]


def test_a_bag_keeps_its_members_apart():
    assert sensitivity.group_of("models.3.encoder.0.conv") == "models.3.encoder.0.conv"
    assert sensitivity.group_of("models.1.layers.2.linear2") == "models.1.layers.2.ffn"
    assert sensitivity.group_of("up_t") == "up_t"


@pytest.mark.parametrize("backend", ["onnx", pytest.param("executorch", marks=pytest.mark.slow)])
def test_the_scan_measures_each_group_alone(backend, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    speech = tuple(x[:9600] for x in samples.speech())
    monkeypatch.setattr(sensitivity, "samples", SimpleNamespace(speech=lambda: speech))
    whole = sensitivity.groups
    monkeypatch.setattr(  # three groups are enough
        sensitivity,
        "groups",
        lambda plan: {k: v for k, v in whole(plan).items() if k in ("analysis", "dense", "recurrences.0")},
    )
    options = ExportOptions(prune=0.5, formats=("onnx",))
    report = sensitivity.scan(enhancer(), options, backend, tmp_path)
    first, *alone = report["groups"]
    assert first["group"] == sensitivity.ALL and first["layers"] == sum(g["layers"] for g in alone)
    assert first["weights"] == sum(g["weights"] for g in alone)
    assert {g["group"] for g in alone} == {"analysis", "dense", "recurrences.0"}
    snrs = [g["snr_db"] for g in alone]
    assert snrs == sorted(snrs) and all(10 < snr < 150 for snr in snrs)  # 200: no difference at all
    assert first["snr_db"] <= snrs[0] + 1  # errors add up
    for g in report["groups"]:
        assert g["loss"] == pytest.approx(report["quality_fp32"] - g["quality"])
    assert np.isfinite([g["loss"] for g in report["groups"]]).all()
    write_json(report, tmp_path / "s.json")
    assert "analysis" in sensitivity.text(report) and (tmp_path / "s.json").stat().st_size > 100
