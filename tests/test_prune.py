"""Structured pruning: valid networks at every ratio, the promised savings, and a way back from disk."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.checkpoints import load_checkpoint, save_checkpoint
from edge.compression.cost import macs_per_second, parameters
from edge.compression.groups import kept_heads, kept_width
from edge.compression.prune import prune
from edge.errors import InputError
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDEMUCS_MINI, HTDemucs, HTDemucsConfig

NETWORKS = {"enhancer": lambda: Enhancer().eval(), "htdemucs-mini": lambda: HTDemucs(HTDEMUCS_MINI).eval()}


def run(model):
    with torch.inference_mode():
        return model.enhance(torch.randn(1, 4000)) if isinstance(model, Enhancer) else model(torch.randn(1, 2, 9000))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_ratio_gives_a_smaller_working_network(name):
    torch.manual_seed(0)
    model = NETWORKS[name]()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    last = parameters(model) + 1
    for tenth in (0, 1, 3, 5, 7, 9):
        small = prune(model, tenth / 10).model
        assert parameters(small) < last
        last = parameters(small)
        assert torch.isfinite(run(small)).all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_half_of_the_full_network_leaves_a_quarter():
    model = HTDemucs(HTDemucsConfig()).eval()
    small = prune(model, 0.5).model
    assert parameters(small) / parameters(model) <= 0.27
    assert macs_per_second(small).layers / macs_per_second(model).layers <= 0.27
    assert macs_per_second(small).attention / macs_per_second(model).attention == pytest.approx(0.5)


def test_known_cost():
    # 41.98 M parameters, 16.0 GMAC per second of audio
    model = HTDemucs(HTDemucsConfig())
    assert parameters(model) == 41_984_456
    assert macs_per_second(model).layers / 1e9 == pytest.approx(16.0, rel=0.02)


def test_keeps_the_largest_channels_and_heads():
    torch.manual_seed(0)
    model = HTDemucs(HTDEMUCS_MINI).eval()
    layer = model.crosstransformer.layers[0]
    with torch.no_grad():  # half of each FFN's units are dead: those must go
        layer.linear1.weight[::2] *= 1e-3
        layer.linear1.bias[::2] = 0
        layer.linear2.weight[:, ::2] *= 1e-3
        for part in (layer.attention.q, layer.attention.k, layer.attention.v):  # the first and third of four heads
            part.weight.reshape(4, -1)[::2] *= 1e-3
        kept_q = layer.attention.q.weight.reshape(4, -1)[1::2].clone().reshape(64, -1)
    result = prune(model, 0.5)
    small = result.model.crosstransformer.layers[0]
    assert small.linear1.out_features == layer.linear1.out_features // 2
    assert small.linear1.weight.norm(dim=1).min() > 0.05
    assert small.attention.heads == result.model.config.t_heads == 2
    assert torch.equal(small.attention.q.weight, kept_q[:, result.model.crosstransformer.pos.kept])
    assert small.attention.scale == layer.attention.scale
    assert len(result.model.crosstransformer.pos.kept) == small.linear1.in_features


@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_checkpoint_round_trip(name, tmp_path):
    small = prune(NETWORKS[name](), 0.5).model
    save_checkpoint(tmp_path / "p.safetensors", small, {"prune_ratio": "0.5"})
    again = load_checkpoint(tmp_path / "p.safetensors")
    torch.manual_seed(1)
    expected = run(small)
    torch.manual_seed(1)
    assert torch.equal(run(again), expected)


def test_pruned_network_prunes_and_trains_on():
    small = prune(prune(HTDemucs(HTDEMUCS_MINI), 0.3).model, 0.3).model.train()
    loss = small(torch.randn(1, 2, 9000)).square().mean()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in small.parameters())
    assert copy.deepcopy(small) is not small


@given(st.integers(1, 16), st.floats(0, 0.9))
def test_kept_heads(heads, ratio):
    kept = kept_heads(heads, ratio)
    assert 1 <= kept <= heads and kept >= heads * (1 - ratio) - 1e-5
    assert kept_heads(heads, 0) == heads


@given(st.integers(1, 512), st.floats(0, 0.9))
@settings(max_examples=200)
def test_kept_width(width, ratio):
    kept = kept_width(width, ratio)
    assert 1 <= kept <= width
    assert kept_width(width, 0) == width or width >= 16  # rounding may trim odd widths only
    if width >= 48:
        assert kept % 8 == 0 or kept == width
        assert abs(kept - width * (1 - ratio)) <= 8


@pytest.mark.parametrize("ratio", [-0.1, 0.95, float("nan")])
def test_bad_ratio(ratio):
    with pytest.raises(InputError, match="prune ratio"):
        prune(HTDemucs(HTDEMUCS_MINI), ratio)
