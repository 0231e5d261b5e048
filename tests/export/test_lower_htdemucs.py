"""The lowered HT Demucs equals the training network: any config, odd lengths, both targets, pruned widths."""

from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from edge.bundle import snr_db
from edge.compression.prune import prune
from edge.export import delegable
from edge.export.delegable import ResidualBranch
from edge.export.lower_htdemucs import lower_htdemucs
from edge.models.htdemucs import HTDemucs, HTDemucsConfig
from edge.models.hybrid import LayerScale

SMALL = dict(channels=8, bottom_channels=32, t_layers=2, t_heads=4, dconv_comp=4, segment=Fraction(1))


def lively(config: HTDemucsConfig, seed: int = 0) -> HTDemucs:
    """A network whose residual branches, norms and biases all matter (their initial values hide mistakes)."""
    torch.manual_seed(seed)
    model = HTDemucs(config).eval()
    for module in model.modules():
        if isinstance(module, LayerScale):
            nn.init.uniform_(module.scale, 0.1, 0.5)
        elif isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize("target", ["onnx", "executorch"])
@pytest.mark.parametrize(
    ("over", "length"),
    [
        ({}, 44100),
        ({}, 30011),
        ({"bottom_channels": 0, "sources": tuple("abcdef")}, 22050),
        ({"dconv_mode": 1, "t_cross_first": True}, 22050),
        ({"t_layers": 0}, 22050),
        ({"freq_emb": 0.0, "t_weight_pos_embed": 0.5}, 22050),
        ({"nfft": 2048}, 22050),
        ({"nfft": 3072, "depth": 3}, 22050),
        ({"nfft": 8192}, 22050),
    ],
)
def test_equals_training_network(over, length, target):
    model = lively(HTDemucsConfig(**{**SMALL, **over}))
    mix = torch.randn(1, 2, length) * 0.3 + 0.05
    with torch.inference_mode():
        expected, got = model(mix), lower_htdemucs(model, length, target)(mix)
    assert got.shape == expected.shape
    assert snr_db(expected.numpy(), got.numpy()) > 100


@pytest.mark.parametrize("target", ["onnx", "executorch"])
def test_in_parts_of_time_it_is_the_same(target, monkeypatch):
    made = []
    wide = delegable.ResidualBranch._gated
    monkeypatch.setattr(
        delegable.ResidualBranch, "_gated", lambda self, h, x: made.append(x.numel()) or wide(self, h, x)
    )
    cut = delegable.Upsampled.cut
    monkeypatch.setattr(delegable.Upsampled, "cut", lambda self, *at: made.append(0) or cut(self, *at))
    test_equals_training_network({}, 30011, target)
    whole, made[:] = list(made), []
    monkeypatch.setattr(delegable, "LARGE", 1000)
    test_equals_training_network({}, 30011, target)
    assert 0 < max(made) < max(whole) / 3
    # the last rows in tiles either way; over time ONNX Runtime's alone
    assert whole.count(0) == 4 and (made.count(0) > 4) == (target == "onnx")


@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_pruned_network_lowers(ratio):
    model = prune(lively(HTDemucsConfig(**SMALL)), ratio).model
    mix = torch.randn(1, 2, 20000)
    with torch.inference_mode():
        assert snr_db(model(mix).numpy(), lower_htdemucs(model, 20000, "onnx")(mix).numpy()) > 100


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(2, 9), st.sampled_from([(1, 700), (7, 60)]), st.booleans())
@example(530, 1, 4, (1, 700), True)  # two biases that are large and nearly equal
def test_residual_branch_is_exact_for_any_weights(seed, channels, hidden, shape, flat):
    """Fewer outputs than hidden channels, norms that do nothing, a wide layer that is constant, a far mean."""
    torch.manual_seed(seed)
    layer = nn.Sequential(
        nn.Conv1d(channels, hidden, 3, padding=1),
        nn.GroupNorm(1, hidden),
        nn.GELU(),
        nn.Conv1d(hidden, 2 * channels, 1),
        nn.GroupNorm(1, 2 * channels),
        nn.GLU(1),
        LayerScale(channels, 0.5),
    )
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        layer[3].bias += 3
        layer[1].weight[0] = 0
        if flat:
            layer[3].weight.zero_()
        x = torch.randn(1, channels, *shape)
        rows = x[0].transpose(0, 1)  # each row by itself, as DConv has it
        expected = (rows + layer(rows)).transpose(0, 1)[None]
        for target in ("onnx", "executorch"):
            branch = ResidualBranch(layer, target)
            assert snr_db(expected.numpy(), branch(x).numpy()) > 90
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(delegable, "LARGE", 0)  # in parts of time
                assert snr_db(expected.numpy(), branch(x).numpy()) > 90


def test_silence_and_extremes_stay_finite():
    model = lively(HTDemucsConfig(**SMALL))
    lowered = lower_htdemucs(model, 20000, "executorch")
    for mix in (torch.zeros(1, 2, 20000), torch.full((1, 2, 20000), 1e-30), torch.ones(1, 2, 20000) * 30):
        with torch.inference_mode():
            assert torch.isfinite(lowered(mix)).all()
