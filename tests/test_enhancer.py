import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.models.causal import GatedRecurrence, TimeAttention, sqrt_hann_bases
from edge.models.enhancer import Enhancer, EnhancerConfig

SMALL = EnhancerConfig(
    channels=24,
    growth=8,
    gru=16,
    heads=2,
    head_dim=8,
    attention_window=9,
    ffn=24,
    latent=16,
    time_channels=(8, 12),
)
HOP = SMALL.hop


def network(config: EnhancerConfig = SMALL, seed: int = 0) -> Enhancer:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = Enhancer(config).eval()
    with torch.no_grad():  # every path loud enough to be seen in the output
        for p in [net.time_decoder.up1.weight, net.mask.weight]:
            p.mul_(10)
        for layer in net.tat:
            layer.attention.lag_bias.normal_()
    return net


NET = network()


def noise(samples: int, batch: int = 1, seed: int = 1, level: float = 0.1) -> torch.Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed)) * level


def stream(net: Enhancer, audio: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    state, outs, start, i = net.init_state(audio.shape[0]), [], 0, 0
    while start < audio.shape[1]:
        stop = start + sizes[i % len(sizes)] * net.config.hop
        out, state = net(audio[:, start:stop], state)
        outs.append(out)
        start, i = stop, i + 1
    return torch.cat(outs, dim=1)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(hops=st.integers(2, 24), data=st.data())
def test_the_future_does_not_change_the_past(hops, data):
    cut = data.draw(st.integers(1, hops * HOP - 1))
    a = noise(hops * HOP)
    b = torch.cat([a[:, :cut], noise(hops * HOP - cut, seed=2, level=1.0)], dim=1)
    past = cut // HOP * HOP
    assert torch.equal(NET(a)[0][:, :past], NET(b)[0][:, :past])
    assert not torch.allclose(NET(a)[0][:, past:], NET(b)[0][:, past:])


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(hops=st.integers(1, 40), sizes=st.lists(st.integers(1, 13), min_size=1, max_size=5))
def test_chunks_of_any_size_equal_offline(hops, sizes):
    audio = noise(hops * HOP, batch=2)
    torch.testing.assert_close(stream(NET, audio, sizes), NET(audio)[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_hop_by_hop_equals_offline_at_full_size():
    net = network(EnhancerConfig())
    audio = noise(150 * net.config.hop)
    torch.testing.assert_close(stream(net, audio, [1]), net(audio)[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(stream(net, audio, [2, 130, 3]), net(audio)[0], atol=1e-5, rtol=0)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(samples=st.integers(0, 3000))
def test_enhance_keeps_length_and_is_aligned(samples):
    audio = noise(samples, batch=2)
    out = NET.enhance(audio)
    assert out.shape == audio.shape
    longer = torch.cat([audio, torch.zeros(2, 3 * HOP)], dim=1)
    longer = longer[:, : longer.shape[1] // HOP * HOP]
    delay = SMALL.delay
    torch.testing.assert_close(out, NET(longer)[0][:, delay : delay + samples], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_new_state_is_a_fresh_start():
    audio = noise(6 * HOP)
    first, used = NET(audio, NET.init_state())
    assert list(used) == list(NET.init_state())
    assert all(used[k].shape == v.shape for k, v in NET.init_state().items())
    assert not torch.allclose(NET(audio, used)[0], first)
    assert torch.equal(NET(audio, NET.init_state())[0], first)
    assert not list(NET.buffers())


@pytest.mark.parametrize("window", [8, 64, 384])
def test_the_untrained_filterbank_reconstructs(window):
    analysis, synthesis = sqrt_hann_bases(window)
    x = noise(10 * window)[0]
    frames = x.unfold(0, window, window // 2) @ analysis.T @ synthesis.T
    half = window // 2
    overlapped = frames[:-1, half:] + frames[1:, :half]
    torch.testing.assert_close(overlapped.flatten(), x[half:-half], atol=1e-6, rtol=0)


@torch.no_grad()
def test_identity_mask_passes_the_input_with_the_stated_delay():
    net = Enhancer(SMALL).eval()
    net.mask.weight.zero_()
    net.time_decoder.up1.weight.zero_()
    audio = noise(12 * HOP)
    out = net(audio)[0]
    torch.testing.assert_close(out[:, SMALL.delay :], audio[:, : -SMALL.delay], atol=1e-6, rtol=0)
    torch.testing.assert_close(net.enhance(audio), audio, atol=1e-6, rtol=0)


@torch.no_grad()
def test_budgets():
    config = EnhancerConfig()
    net = Enhancer(config)
    assert sum(p.numel() for p in net.parameters()) <= 1_000_000
    assert (config.hop + config.delay) / config.sample_rate <= 0.040


@torch.no_grad()
@pytest.mark.parametrize("level", [0.0, 1e-40, 1e-6, 1.0])
def test_silence_stays_silent_and_no_level_breaks_it(level):
    out = NET(noise(30 * HOP, level=1.0).clamp(-1, 1) * level)[0]
    assert torch.isfinite(out).all()
    if level < 1e-5:
        assert out.abs().max() < 1e-4  # -80 dBFS
    stepped = torch.cat([torch.zeros(1, 30 * HOP), torch.ones(1, 3 * HOP), torch.zeros(1, 30 * HOP)], dim=1)
    assert torch.isfinite(NET(stepped)[0]).all()


@torch.no_grad()
@settings(max_examples=10, deadline=None)
@given(decibels=st.floats(-40, 15))
def test_output_scales_with_the_input(decibels):
    gain = 10 ** (decibels / 20)
    audio = noise(20 * HOP)
    quiet, loud = NET(audio * gain)[0] / gain, NET(audio)[0]
    assert (quiet - loud).square().mean() < 1e-3 * loud.square().mean()


@torch.no_grad()
def test_the_bidirectional_variant_hears_the_future_and_cannot_stream():
    net = network(replace(SMALL, bidirectional=True))
    a = noise(12 * HOP)
    b = torch.cat([a[:, : 8 * HOP], noise(4 * HOP, seed=3)], dim=1)
    assert not torch.allclose(net(a)[0][:, : 4 * HOP], net(b)[0][:, : 4 * HOP], atol=1e-6)
    assert net.enhance(a[:, :1000]).shape == (1, 1000)
    with pytest.raises(InputError, match="bidirectional"):
        net.init_state()
    with pytest.raises(InputError, match="bidirectional"):
        net(a, NET.init_state())


@pytest.mark.parametrize("shape", [(1, 0), (1, HOP + 1), (HOP,)])
def test_a_wrong_length_is_refused(shape):
    with pytest.raises(InputError, match="multiple of"):
        NET(torch.zeros(shape))


@torch.no_grad()
def test_fused_gru_equals_its_steps():
    cell = GatedRecurrence(5, 7)
    x, h = torch.randn(2, 9, 5), torch.randn(2, 7)
    fused, last = cell(x, h)
    for t in range(9):
        h = cell.step(x[:, t], h)
        torch.testing.assert_close(fused[:, t], h)
    torch.testing.assert_close(last, h)


@torch.no_grad()
def test_attention_reaches_exactly_its_window():
    layer = TimeAttention(8, 2, 4, window=5, scale=0.5)
    past = torch.zeros(1, *layer.state_shape())
    x = torch.randn(1, 200, 8)
    y = x.clone()
    y[:, 100] += 1.0
    changed = ((layer(x, past, past)[0] - layer(y, past, past)[0]).abs().amax(2) > 1e-7)[0].nonzero().flatten()
    assert changed.tolist() == [100, 101, 102, 103, 104]


def test_every_parameter_gets_a_gradient():
    net = network().train()
    net(noise(8 * HOP, batch=2))[0].square().mean().backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []
    assert all(math.isfinite(p.grad.abs().sum().item()) for p in net.parameters())


def test_config_survives_json():
    import json

    assert EnhancerConfig(**json.loads(json.dumps(SMALL.to_dict()))) == SMALL
