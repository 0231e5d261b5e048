"""Structured pruning: valid networks at every ratio, the promised savings, and a way back from disk."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.checkpoints import load_checkpoint, save_checkpoint
from edge.compression.allocate import Candidate, Use, allocate
from edge.compression.cost import macs_per_second, parameters
from edge.compression.groups import width_step
from edge.compression.importance import mean_squares
from edge.compression.prune import prune
from edge.compression.workload import LayerWork, workload
from edge.errors import InputError
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDEMUCS_MINI, HTDemucs, HTDemucsConfig

NETWORKS = {"enhancer": lambda: Enhancer().eval(), "htdemucs-mini": lambda: HTDemucs(HTDEMUCS_MINI).eval()}


def clips(model):
    """Short ones: what is judged here is not how well the channels are chosen."""
    generator = torch.Generator().manual_seed(3)
    shape = (1, 16 * model.config.hop) if isinstance(model, Enhancer) else (1, 2, 8820)
    return [torch.randn(shape, generator=generator)]


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
        small = prune(model, tenth / 10, clips(model)).model
        assert parameters(small) < last
        last = parameters(small)
        assert torch.isfinite(run(small)).all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def htdemucs_mini():
    return HTDemucs(HTDEMUCS_MINI)


def trainable_work(model):
    """(products, all around them, weights) of what can be thinned: an enhancer's filterbank is the signal."""
    layers = [w for name, w in workload(model).items() if name not in ("analysis", "synthesis")]
    return [sum(x) for x in zip(*((w.products, w.before + w.after, w.weights) for w in layers), strict=True)]


@pytest.mark.parametrize(
    ("model", "ratio", "width", "slack"),
    [
        pytest.param(model, ratio, width(ratio), slack, id=f"{model.__name__}-{ratio}")
        for model, width, slack in (
            (htdemucs_mini, lambda ratio: 1 - ratio, 1.05),
            (Enhancer, lambda ratio: (1 - ratio) ** 0.5, 1.07),  # the signal's side of a layer stays
        )
        for ratio in (0.3, 0.5, 0.7)
    ],
)
def test_no_more_than_the_promised_work_and_weights_are_left(model, ratio, width, slack):
    """Weights: the square of what is left of the widths; work: between that and the widths themselves."""
    torch.manual_seed(0)
    model = model().eval()
    products, others, weights = trainable_work(model)
    small_products, small_others, small_weights = trainable_work(prune(model, ratio, clips(model)).model)
    assert small_weights / weights <= width**2 * 1.1
    uniform = (products * width**2 + others * width) / (products + others)
    left = (small_products + small_others) / (products + others)
    assert left <= uniform * slack + (0.03 if ratio > 0.5 else 0)  # whole heads, floors


def test_known_cost():
    # 41.98 M parameters, 16.0 GMAC per second of audio
    model = HTDemucs(HTDemucsConfig())
    assert parameters(model) == 41_984_456
    assert macs_per_second(model).layers / 1e9 == pytest.approx(16.0, rel=0.02)


def test_what_does_not_reach_the_output_leaves_first():
    torch.manual_seed(0)
    model = HTDemucs(HTDEMUCS_MINI).eval()
    layer = model.crosstransformer.layers[0]
    with torch.no_grad():
        layer.linear1.weight[::2] *= 1e-3  # half of the FFN's units are dead
        layer.linear1.bias[::2] = 0
        layer.linear2.weight[:, ::2] *= 1e-3
        values = layer.attention.out_proj.weight
        values.reshape(len(values), 4, -1)[:, [0, 2, 3]] = 0  # of four heads, only the second is heard
        model.tencoder[0].dconv.layers[1][-1].scale.zero_()  # a branch that adds nothing
        kept_head = layer.attention.q.weight.reshape(4, -1, 128)[1].clone()
    result = prune(model, 0.5, clips(model))
    small = result.model.crosstransformer.layers[0]
    assert small.linear1.weight.norm(dim=1).min() > 0.05
    assert small.attention.heads == small.attention.q.out_features // 32
    heads = small.attention.q.weight.reshape(small.attention.heads, 32, -1)
    kept = result.model.crosstransformer.pos.kept
    assert any(torch.equal(head, kept_head[:, kept]) for head in heads)
    assert small.attention.scale == layer.attention.scale
    assert len(kept) == small.linear1.in_features
    assert result.widths["tencoder0.branch1"] == (1, 0)
    assert len(result.model.tencoder[0].dconv.layers[1]) == 0


def test_importance_is_the_energy_that_a_channel_carries():
    """For a network that is linear in its channels, the first-order estimate is exact."""

    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gains = torch.nn.Parameter(torch.tensor([0.0, 1.0, 2.0, 3.0]))

        def forward(self, clip):
            return (self.gains[:, None] * clip).sum(0, keepdim=True), {}

    model, generator = Sum(), torch.Generator().manual_seed(5)  # not the probes' seed
    clip = torch.randn(4, 20000, generator=generator)
    (energy,) = mean_squares(model, lambda net, x: net(x)[0], [clip] * 40, lambda: [model.gains * model.gains.grad])
    expected = (model.gains[:, None] * clip).square().sum(1) / model(clip)[0].square().sum()
    assert energy[0] == 0
    assert torch.allclose(energy[1:].float(), expected[1:], rtol=0.4)  # 240 random probes


@given(
    energy=st.lists(st.floats(0, 1e3), min_size=4, max_size=12),
    floor=st.integers(0, 3),
    width=st.floats(0.1, 1.0),
)
def test_allocation_keeps_the_best_within_the_budget(energy, floor, width):
    energy = sorted(energy, reverse=True)
    work = {"a": LayerWork(100.0, 0.0, 10.0, 50), "b": LayerWork(40.0, 5.0, 0.0, 30)}
    uses = [Use("a", "out", 1.0), Use("b", "in", 1.0)]
    candidate = Candidate("g", [[i] for i in range(len(energy))], torch.tensor(energy), floor, uses)
    found = allocate([candidate], work, width)
    assert floor <= found.kept["g"] <= len(energy)
    share = found.kept["g"] / len(energy)
    assert found.work == pytest.approx(share) and found.weights == pytest.approx(share)
    assert share <= width + 1e-9 or found.kept["g"] == floor


@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_checkpoint_round_trip(name, tmp_path):
    model = NETWORKS[name]()
    small = prune(model, 0.5).model  # on the shipped recordings
    save_checkpoint(tmp_path / "p.safetensors", small, {"prune_ratio": "0.5"})
    again = load_checkpoint(tmp_path / "p.safetensors")
    torch.manual_seed(1)
    expected = run(small)
    torch.manual_seed(1)
    assert torch.equal(run(again), expected)


def test_pruned_network_prunes_and_trains_on():
    model = HTDemucs(HTDEMUCS_MINI)
    small = prune(prune(model, 0.3, clips(model)).model, 0.3, clips(model)).model.train()
    loss = small(torch.randn(1, 2, 9000)).square().mean()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in small.parameters())
    assert copy.deepcopy(small) is not small


def test_widths_suit_vector_units():
    model = HTDemucs(HTDEMUCS_MINI)
    small = prune(model, 0.5, clips(model))
    for before, after in small.widths.values():
        assert after % width_step(before) == 0 or after == before


@pytest.mark.parametrize("ratio", [-0.1, 0.95, float("nan")])
def test_bad_ratio(ratio):
    with pytest.raises(InputError, match="prune ratio"):
        prune(HTDemucs(HTDEMUCS_MINI), ratio)
