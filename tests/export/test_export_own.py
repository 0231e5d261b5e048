"""edge-export of a user's own network: names, settings, and what is told of them."""

import json

import numpy as np
import pytest
import torch
from demucs_networks import build, by_demucs, mixture, package, separate
from hypothesis import given
from hypothesis import strategies as st

from edge.bundle import open_bundle, snr_db
from edge.cli.export import main
from edge.export.stem_names import stem_names
from edge.runtime.graphs import load_graph
from edge.runtime.streams import Statistics

FLAGS = ["--sources", "other,vocals", "--sample-rate", "44100", "--segment", "0.4", "--heads", "4", "--freq-emb", "0.2"]


def test_a_network_of_ones_own_under_its_own_name(tmp_path, capsys):
    model = build(["Lead Vocals", "kick/snare", "Über"], audio_channels=1, samplerate=48000)
    torch.save(package(model), tmp_path / "m.th")
    arguments = ["--checkpoint", str(tmp_path / "m.th"), "--name", "mine", "--precision", "fp32", "--format", "onnx"]
    assert main([*arguments, "--license", "CC0", "-o", str(tmp_path)]) == 0
    told = capsys.readouterr().err
    assert "read from the file" in told and "t_heads 4" in told and "demucs' own defaults" in told
    bundle = open_bundle(tmp_path / "mine")
    manifest = bundle.manifest
    assert manifest.sources == ["Lead_Vocals", "kick_snare", "Uber"] and manifest.weights_license == "CC0"
    assert (manifest.sample_rate, manifest.channels, manifest.name) == (48000, 1, "mine")
    assert manifest.checkpoints[0]["read"]["sources"] == ["Lead Vocals", "kick/snare", "Über"]
    assert "not measured" in (tmp_path / "mine" / "MODEL_CARD.md").read_text()
    mix = mixture(model)
    stems = separate(manifest, load_graph(bundle, "onnx"), mix.numpy())
    for stem, expected in zip(stems, by_demucs(model, mix).values(), strict=True):
        assert snr_db(expected, stem) >= 70


def test_a_network_of_which_no_graph_can_be_made(tmp_path, capsys):
    torch.save(package(build(kernel_size=4, stride=2)), tmp_path / "m.th")
    assert main(["--checkpoint", str(tmp_path / "m.th"), "-o", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "stride=2" in error and "stride 4" in error and not (tmp_path / "m").exists()


def test_a_bare_file_is_asked_about_and_then_exported(tmp_path, capsys):
    torch.save({"model": build().state_dict()}, tmp_path / "my net.pt")
    base = ["--checkpoint", str(tmp_path / "my net.pt"), "--precision", "fp32", "--format", "onnx", "-o", str(tmp_path)]
    assert main(base) == 2
    error = capsys.readouterr().err
    assert "--sources a,b" in error and "Traceback" not in error and not (tmp_path / "my-net").exists()
    assert main([*base, *FLAGS, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)[0]
    assert manifest["name"] == "my-net" and manifest["checkpoints"][0]["given"]["t_heads"] == 4


@pytest.mark.parametrize(
    "arguments",
    [["nosuch"], ["--name", "x"], ["htdemucs", "--name", "a/b", "--checkpoint", "x"], ["enhancer", "--license", "x"]],
)
def test_what_makes_no_sense_is_refused(tmp_path, capsys, arguments):
    assert main([*arguments, "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@given(st.lists(st.text(max_size=80), min_size=1, max_size=12, unique=True))
def test_every_source_is_a_file_of_its_own(sources):
    names = stem_names(sources)
    assert len({name.lower() for name in names}) == len(sources)
    for name in names:
        assert name.isascii() and name.replace("-", "").replace("_", "").isalnum() and len(name) <= 64
        assert name[0].isalnum()


@pytest.mark.parametrize("error", [0, 1e-6, 1e-3])
def test_channels_that_cancel_count_in_the_deviation(error):
    rng = np.random.default_rng(0)
    left = rng.standard_normal(20000).astype(np.float32)
    turned = np.stack([left, -left * (1 + error)], 1)
    statistics = Statistics()
    for block in np.array_split(turned, 7):
        statistics.update(block)
    assert statistics.std == pytest.approx(0.3, rel=0.02)
    alike = Statistics()
    alike.update(np.stack([left, left], 1))
    assert alike.std == pytest.approx(left.std(ddof=1))
