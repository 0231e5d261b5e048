"""Recovered against trained from scratch: equal schedules, fresh weights of the pruned widths, resumable."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from edge.benchmarks.compression import baseline
from edge.benchmarks.compression.tables import verdict
from edge.checkpoints import load_checkpoint
from edge.cli import compress as command
from edge.compression.prune import prune
from edge.errors import InputError
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs, HTDemucsConfig
from edge.training import recover as recovery
from edge.training.architectures import TRAINING
from edge.training.loop import Schedule
from edge.training.shards import Item, write_manifest, write_shard

SMALL = HTDemucsConfig(segment=Fraction(1, 4), channels=16, bottom_channels=64, t_layers=2, t_heads=4, dconv_comp=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    """Voices and noises of 5 s for training and validation, made of noise."""
    place = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    items = []
    for split in ("train", "validation"):
        for kind in ("speech", "noise"):
            file = write_shard(place / "speech", f"{kind}-{split}", 0.1 * rng.standard_normal(5 * 16000))
            items.append(Item(file, kind, split, f"{kind}-{split}", "made", "1", "CC0", 5.0))
    write_manifest(place / "speech", "speech", 16000, items)
    return place


@pytest.fixture
def in_steps(monkeypatch):
    """Two steps instead of minutes: the same training on any machine. Gives the schedules that were asked for."""
    asked = []

    def schedule(**options):
        asked.append(options)
        return Schedule(steps=2, warmup=1, ema=0.5)

    for module in (baseline, recovery):
        monkeypatch.setattr(module, "Schedule", schedule)
    return asked


@pytest.fixture
def few_pairs(monkeypatch):
    whole = TRAINING["enhancer"]

    def small(data):
        return whole.task(data, batch=1, seconds=0.5)

    monkeypatch.setitem(TRAINING, "enhancer", dataclasses.replace(whole, task=small))


def test_the_command_runs_both_and_goes_on(data, in_steps, few_pairs, tmp_path, capsys):
    arguments = ["baseline", "enhancer", "--prune", "0.7", "--data", str(data), "--minutes", "3", "-o", str(tmp_path)]
    assert command.main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(in_steps) == 2 and in_steps[0] == in_steps[1]  # the same budget, the same schedule
    assert in_steps[0]["minutes"] == 3.0
    assert told["steps"] == {"pruned and recovered": 2, "from scratch": 2}
    enhancer = Enhancer()
    filterbank = 2 * enhancer.analysis.weight.numel()  # is the signal, and keeps its width
    assert told["parameters"] - filterbank < 0.5 * (sum(p.numel() for p in enhancer.parameters()) - filterbank)
    gains = {name: values[told["metric"]] for name, values in told["validation"].items()}
    assert set(gains) == {"unpruned", "pruned, not trained", "pruned and recovered", "from scratch"}
    assert np.isfinite(list(gains.values())).all() and len(set(gains.values())) == 4
    recovered, scratch = (load_checkpoint(tmp_path / d / "enhancer.safetensors") for d in ("recovered", "scratch"))
    shapes = [[p.shape for p in network.parameters()] for network in (recovered, scratch)]
    assert shapes[0] == shapes[1]
    assert baseline.load(tmp_path / "baseline.json") == told
    assert verdict(told) in (tmp_path / "baseline.md").read_text()

    assert command.main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert command.main([*arguments, "--resume"]) == 0
    again = baseline.load(tmp_path / "baseline.json")
    assert again["steps"] == told["steps"]
    for name, values in told["validation"].items():
        assert again["validation"][name] == pytest.approx(values), name


def test_refusals(data, tmp_path):
    with pytest.raises(InputError, match="no training of 'htdemucs'"):
        baseline.compare("htdemucs", 0.5, data, 1, tmp_path)
    with pytest.raises(InputError, match="not found"):
        baseline.compare("enhancer", 0.5, tmp_path / "none", 1, tmp_path)
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(InputError, match="not written by edge-compress baseline"):
        baseline.load(tmp_path / "x.json")


def test_the_verdict_is_plain_either_way():
    told = {"metric": "g", "ratio": 0.5, "minutes": 20.0, "validation": {}}
    told["validation"] = {"pruned and recovered": {"g": 3.0}, "from scratch": {"g": 2.5}}
    assert "recovered beats" in verdict(told) and "0.500 (g) at 20 minutes" in verdict(told)
    told["validation"]["from scratch"] = {"g": 3.25}
    assert "does NOT beat" in verdict(told)


@pytest.fixture(scope="module", params=[Enhancer, lambda: HTDemucs(SMALL)], ids=["enhancer", "htdemucs"])
def networks(request):
    """A network and the same pruned by half."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    whole = request.param().eval()
    return whole, prune(whole, 0.5).model


def test_fresh_weights_are_new_and_of_the_size_that_an_initialisation_has(networks):
    whole, pruned = networks
    fresh, same, other = (baseline.fresh_weights(whole, pruned, seed) for seed in (1, 1, 2))
    for (name, a), b, c, d in zip(
        pruned.named_parameters(), fresh.parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert a.shape == b.shape and torch.equal(b, c), name
        as_made = ("analysis.weight", "synthesis.weight", "down.weight", "up.weight")  # start as an STFT, as triangles
        if a.ndim > 1 and b.std() > 0 and name not in as_made:
            assert not torch.equal(a, b) and not torch.equal(b, d), name
    # a linear layer's uniform weights have the standard deviation 1 / sqrt(3 * inputs)
    for name, layer in fresh.named_modules():
        own = "hidden" in name or name in ("analysis", "synthesis", "mask")  # initialised in another way
        if isinstance(layer, torch.nn.Linear) and layer.weight.numel() > 2000 and not own:
            ratio = layer.weight.std() * (3 * layer.in_features) ** 0.5
            assert 0.9 < ratio < 1.1, (name, ratio)
    with torch.no_grad():
        if isinstance(fresh, Enhancer):
            assert torch.isfinite(fresh.enhance(torch.randn(1, 3200))).all()
        else:
            assert torch.isfinite(fresh(torch.randn(1, 2, 22050))).all()


def test_the_convolutions_of_a_fresh_separator_are_as_loud_as_those_made_so_narrow(networks):
    whole, pruned = networks
    if isinstance(whole, Enhancer):
        pytest.skip("no convolutions to speak of")
    fresh = dict(baseline.fresh_weights(whole, pruned, 1).named_modules())
    narrow = HTDemucs(HTDemucsConfig(**{**vars(SMALL), "channels": 8, "bottom_channels": 32}))
    compared = 0
    for name, layer in narrow.named_modules():
        if isinstance(layer, (torch.nn.Conv1d, torch.nn.Conv2d)) and layer.weight.numel() > 1000 and name in fresh:
            ours, theirs = fresh[name].weight, layer.weight
            if ours.numel() > 500:  # a spread that few weights tell means nothing
                compared += 1
                expected = theirs.std() * (theirs[0].numel() / ours[0].numel()) ** 0.25
                assert 0.8 < ours.std() / expected < 1.25, name
    assert compared
