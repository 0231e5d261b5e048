import math
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_enhancer import SMALL

from edge.compression.cost import macs_per_second
from edge.errors import InputError
from edge.models.enhancer import Enhancer, EnhancerConfig
from edge.models.enhancer.bands import ChannelNorm
from edge.models.enhancer.filterbank import odd_fourier_bases, power_law
from edge.models.enhancer.recurrence import GatedRecurrence, TimeAttention

HOP = SMALL.hop


def network(config: EnhancerConfig = SMALL, seed: int = 0) -> Enhancer:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = Enhancer(config).eval()
    with torch.no_grad():  # every path loud enough to be seen in the output
        for p in [net.time_stage.up1.weight, net.mask.weight]:
            p.mul_(10)
        net.tat.attention.lag_bias.normal_()
        net.spread.weight.normal_(0, 0.3)
        for norm in (m for m in net.modules() if isinstance(m, ChannelNorm)):
            norm.running_var.uniform_(0.5, 2)
            norm.running_mean.normal_(0, 0.3)
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
    assert not [name for name, _ in NET.named_buffers() if "norm" not in name]


@pytest.mark.parametrize("window", [8, 64, 512])
def test_the_untrained_filterbank_reconstructs(window):
    analysis, synthesis = odd_fourier_bases(window)
    x = noise(10 * window)[0]
    frames = x.unfold(0, window, window // 2) @ analysis.T @ synthesis.T
    half = window // 2
    overlapped = frames[:-1, half:] + frames[1:, :half]
    torch.testing.assert_close(overlapped.flatten(), x[half:-half], atol=1e-6, rtol=0)


@torch.no_grad()
def test_identity_mask_passes_the_input_with_the_stated_delay():
    net = Enhancer(SMALL).eval()
    net.mask.weight.zero_()
    net.time_stage.up1.weight.zero_()
    audio = noise(12 * HOP)
    out = net(audio)[0]
    torch.testing.assert_close(out[:, SMALL.delay :], audio[:, : -SMALL.delay], atol=2e-6, rtol=0)
    torch.testing.assert_close(net.enhance(audio), audio, atol=2e-6, rtol=0)


@torch.no_grad()
def test_budgets():
    config = EnhancerConfig()
    net = Enhancer(config)
    assert sum(p.numel() for p in net.parameters()) <= 1_000_000
    assert (config.hop + config.delay) / config.sample_rate <= 0.040
    cost = macs_per_second(net)
    assert cost.layers + cost.attention <= 150e6


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
    assert net.enhance(a[:, :700]).shape == (1, 700)
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
    x, h = torch.randn(9, 2, 5), torch.randn(2, 7)
    fused, last = cell(x, h)
    for t in range(9):
        h = cell.step(x[t], h)
        torch.testing.assert_close(fused[t], h)
    torch.testing.assert_close(last, h)


def test_the_training_gru_has_the_gradients_of_its_steps():
    cell = GatedRecurrence(5, 7).double()
    x, h = torch.randn(9, 3, 5, dtype=torch.double), torch.randn(3, 7, dtype=torch.double)
    weight = torch.randn(9, 3, 7, dtype=torch.double)

    def gradients(run) -> list[torch.Tensor]:
        inputs = [x.clone().requires_grad_(), h.clone().requires_grad_()]
        cell.zero_grad()
        y, last = run(*inputs)
        ((y * weight).sum() + (last * weight[0]).sum()).backward()
        return [y.detach(), *(i.grad for i in inputs), *(p.grad.clone() for p in cell.parameters())]

    def stepped(x: torch.Tensor, h: torch.Tensor):
        steps = []
        for frame in x:
            h = cell.step(frame, h)
            steps.append(h)
        return torch.stack(steps), h

    for ours, theirs in zip(gradients(cell.train()), gradients(stepped), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_norm_is_torchs_batch_norm():
    ours, theirs = ChannelNorm(6).double(), torch.nn.BatchNorm1d(6, momentum=0.05).double()
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)
        ours.bias.normal_()
        theirs.load_state_dict(ours.state_dict())
    x = 3 * torch.randn(40, 6, dtype=torch.double) + 1
    weight, grads = torch.randn_like(x), []
    for norm in (ours, theirs):
        given = x.clone().requires_grad_()
        (norm(given) * weight).sum().backward()
        grads.append([given.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    torch.testing.assert_close(*grads)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("dim", "exponent"), [(0, 0.3), (1, 1 / 0.3), (2, 1.0)])
def test_the_training_power_law_has_the_gradients_of_the_plain_one(dim, exponent):
    shape = [3, 4, 5]
    shape[dim] = 2
    given, weights = torch.randn(shape, dtype=torch.double), torch.randn(shape, dtype=torch.double)
    results = []
    for training in (True, False):
        pairs = given.clone().requires_grad_()
        scaled, magnitude = power_law(pairs, dim, exponent, 1e-3, training)
        ((scaled * weights).sum() + (magnitude * weights.narrow(dim, 0, 1)).sum()).backward()
        results.append([scaled.detach(), magnitude.detach(), pairs.grad])
    torch.testing.assert_close(*results)


@torch.no_grad()
def test_attention_reaches_exactly_its_window():
    layer = TimeAttention(8, 2, window=5)
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

    assert EnhancerConfig(**json.loads(json.dumps(asdict(SMALL)))) == SMALL
