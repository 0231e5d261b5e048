"""Checkpoints: official files as the demucs package saves them, ours, pruned ones, and everything that is none."""

import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from edge.checkpoints import Stated, load_any, load_checkpoint, save_checkpoint
from edge.errors import InputError
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDEMUCS_MINI, HTDemucs, HTDemucsConfig

SMALL = dict(channels=8, bottom_channels=32, t_layers=2, t_heads=4, dconv_mode=3, dconv_comp=4)


def demucs_model(**over):
    htdemucs = pytest.importorskip("demucs.htdemucs")
    from fractions import Fraction

    torch.manual_seed(0)
    kwargs = {"sources": ["drums", "bass", "other", "vocals"], "segment": Fraction(2), **SMALL, **over}
    return htdemucs.HTDemucs(**kwargs).eval()


def serialize(model, path, half=False):
    states = pytest.importorskip("demucs.states")
    from omegaconf import OmegaConf

    torch.save(states.serialize_model(model, OmegaConf.create({"seed": 1}), half=half), path)


@pytest.mark.parametrize(
    "over",
    [{}, {"bottom_channels": 0}, {"sources": list("abcdef")}, {"dconv_mode": 1}, {"t_cross_first": True}],
)
def test_demucs_package_file_equals_the_demucs_network(tmp_path, over):
    reference = demucs_model(**over)
    serialize(reference, tmp_path / "m.th")
    ours, metadata = load_any(tmp_path / "m.th", "htdemucs")
    mix = torch.randn(2, 2, reference.valid_length(1)) * 0.1
    with torch.inference_mode():
        expected, got = reference(mix), ours(mix)
    error = (expected - got).pow(2).sum() / expected.pow(2).sum()
    assert 10 * torch.log10(error) < -100
    assert metadata["weights_license"] == "as given by the provider of the checkpoint"
    assert set(ours.state_dict()) == set(reference.state_dict())


def test_positional_settings(tmp_path):
    htdemucs = pytest.importorskip("demucs.htdemucs")
    model = htdemucs.HTDemucs(["a", "b"], 2, 8, bottom_channels=32, t_layers=1, t_heads=4, segment=2)
    serialize(model, tmp_path / "m.th")
    ours, _ = load_any(tmp_path / "m.th", "htdemucs")
    assert ours.config.sources == ("a", "b") and ours.config.channels == 8 and ours.config.segment == 2


def test_bare_state_dict_and_half_precision(tmp_path):
    reference = demucs_model(t_heads=8)
    torch.save(reference.state_dict(), tmp_path / "bare.th")
    ours, _ = load_any(tmp_path / "bare.th", "htdemucs", Stated("htdemucs"))
    mix = torch.randn(1, 2, 44100 * 2) * 0.1
    with torch.inference_mode():
        assert torch.allclose(ours(mix), reference(mix), atol=1e-4)
    serialize(reference, tmp_path / "half.th", half=True)
    half, _ = load_any(tmp_path / "half.th", "htdemucs")
    assert next(half.parameters()).dtype == torch.float32


def test_own_format_round_trip(tmp_path):
    torch.manual_seed(0)
    model = HTDemucs(HTDEMUCS_MINI).eval()
    save_checkpoint(tmp_path / "m.safetensors", model, {"training_data": "none"})
    again = load_checkpoint(tmp_path / "m.safetensors")
    assert again.config == model.config
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


class Bomb:
    def __reduce__(self):
        return (open, ("/tmp/stem-edge-pwned", "w"))


def test_nothing_is_executed(tmp_path):
    torch.save({"klass": Bomb(), "state": {"a": torch.zeros(1)}}, tmp_path / "bomb.th")
    with pytest.raises(InputError):
        load_any(tmp_path / "bomb.th", "htdemucs")
    (tmp_path / "raw.th").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError):
        load_any(tmp_path / "raw.th", "htdemucs")
    import os

    assert not os.path.exists("/tmp/stem-edge-pwned")


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "npz", "nan", "foreign", "other", "shape"])
def test_bad_files_get_one_line(tmp_path, kind):
    path = tmp_path / "x.th"
    model = HTDemucs(HTDemucsConfig(channels=8, bottom_channels=32, t_layers=1, t_heads=4))
    state = model.state_dict()
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("hello " * 100)
    elif kind == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "npz":
        np.savez(path.open("wb"), a=np.zeros(3))
    elif kind == "nan":
        state["encoder.0.conv.weight"][0] = float("nan")
        torch.save(state, path)
    elif kind == "foreign":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == "other":
        demucs = pytest.importorskip("demucs.hdemucs")
        serialize(demucs.HDemucs(["a", "b"], channels=4), path)
    elif kind == "shape":
        state["encoder.2.conv.weight"] = torch.zeros(3, 3, 8, 1)
        torch.save(state, path)
    with pytest.raises(InputError) as caught:
        load_any(path, "htdemucs")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_half_precision_files_load_as_fp32(tmp_path):
    model = HTDemucs(HTDEMUCS_MINI).eval()
    for precision in ("fp32", "fp16"):
        save_checkpoint(tmp_path / precision, model, precision=precision)
    again = load_checkpoint(tmp_path / "fp16")
    assert (tmp_path / "fp16").stat().st_size < 0.51 * (tmp_path / "fp32").stat().st_size
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=2**-10, atol=1e-7)


def test_int8_files_load_within_half_a_step_of_every_row(tmp_path):
    model = HTDemucs(HTDEMUCS_MINI).eval()
    save_checkpoint(tmp_path / "m", model, precision="int8")
    assert (tmp_path / "m").stat().st_size < 1.3 * sum(p.numel() for p in model.parameters())
    for ours, theirs in zip(load_checkpoint(tmp_path / "m").parameters(), model.parameters(), strict=True):
        rows = theirs.detach().reshape(len(theirs), -1)
        step = rows.abs().amax(1, keepdim=True) / 127 if theirs.dim() > 1 else rows.abs() * 2**-9
        assert ours.dtype == torch.float32
        assert ((ours.detach().reshape(rows.shape) - rows).abs() <= 0.501 * step + 1e-7).all()


def test_int8_files_keep_the_bases_of_the_enhancer(tmp_path):
    model = Enhancer()
    save_checkpoint(tmp_path / "m", model, precision="int8")
    again = load_checkpoint(tmp_path / "m")
    for name in ("analysis", "synthesis"):
        torch.testing.assert_close(getattr(again, name).weight, getattr(model, name).weight, rtol=2**-10, atol=1e-7)
    assert not torch.equal(again.fuse.linear.weight, model.fuse.linear.weight.half().float())


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_an_int8_file_without_its_scales_is_refused(tmp_path, damage):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, HTDemucs(HTDEMUCS_MINI), precision="int8")
    with safe_open(path, "pt") as file:
        tensors, metadata = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()
    name = next(k for k in tensors if k.endswith(".int8_scale"))
    tensors[name] = tensors[name][:-1].clone()
    if damage == "missing":
        del tensors[name]
    save_file(tensors, path, metadata)
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
