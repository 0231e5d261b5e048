from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_enhancer import SMALL
from torch import nn

from edge.compression.enhancer_groups import prune_seeds, trace_arguments
from edge.errors import InputError
from edge.export.lower_enhancer import lower_enhancer
from edge.models.enhancer import Enhancer, EnhancerConfig
from edge.models.enhancer.bands import ChannelNorm
from edge.models.widths import fit_widths


def network(config: EnhancerConfig, seed: int = 0) -> Enhancer:
    """Random in every parameter that starts at a constant, so that a fold left out is seen."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = Enhancer(config).eval()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if any(part in name for part in ("norm", "lag_bias", "film", "spread")):
                p.add_(0.3 * torch.randn_like(p))
        for norm in (m for m in net.modules() if isinstance(m, ChannelNorm)):
            norm.running_var.uniform_(0.5, 2)
            norm.running_mean.normal_(0, 0.3)
        net.time_stage.up1.weight.mul_(10)
        net.mask.weight.mul_(10)
    return net


def noise(samples: int, seed: int = 1) -> torch.Tensor:
    """A third digital silence, a third noise, a third denormals: runtimes stumble over the quiet parts."""
    x = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))
    x[:, : samples // 3] = 0
    x[:, 2 * samples // 3 :] = 1e-40
    return x


@torch.no_grad()
def stream(step, states: list[torch.Tensor], audio: torch.Tensor, hop: int) -> torch.Tensor:
    outs = []
    for chunk in audio.split(hop, dim=1):
        out, *states = step(chunk, *states)
        outs.append(out)
    return torch.cat(outs, dim=1)


def prune_evenly(net: Enhancer, keep: float) -> None:
    tp = pytest.importorskip("torch_pruning")
    graph = tp.DependencyGraph()
    graph.build_dependency(net, **trace_arguments(net))
    for group in list(prune_seeds(net)):
        pruner = graph.get_pruner_of_module(group.module)
        width, prune = pruner.get_out_channels(group.module), pruner.prune_out_channels
        each = width // group.heads
        drop = [h * each + i for h in range(group.heads) for i in range(max(2, round(keep * each)), each)]
        found = graph.get_pruning_group(group.module, prune, drop)
        assert graph.check_pruning_group(found)
        found.prune()


@torch.no_grad()
@pytest.mark.parametrize("target", ["onnx", "executorch"])
@pytest.mark.parametrize("config", [EnhancerConfig(), SMALL], ids=["full", "small"])
def test_streaming_the_lowered_network_equals_offline(config, target):
    net = network(config)
    lowered = lower_enhancer(net, target)
    audio = noise(120 * config.hop)
    out = stream(lowered, list(lowered.init_state().values()), audio, config.hop)
    torch.testing.assert_close(out, net(audio)[0], atol=1e-5, rtol=0)


@torch.no_grad()
@settings(max_examples=8, deadline=None)
@given(
    channels=st.integers(3, 30),
    growth=st.integers(1, 9),
    bands=st.sampled_from([1, 3, 8, 16]),
    head_width=st.integers(1, 6),
    attention=st.integers(1, 6),
    time_channels=st.tuples(st.integers(1, 9), st.integers(1, 13)),
    window=st.integers(2, 20),
    blocks=st.integers(1, 3),
    target=st.sampled_from(["onnx", "executorch"]),
)
def test_any_widths_lower_exactly(
    channels, growth, bands, head_width, attention, time_channels, window, blocks, target
):
    config = EnhancerConfig(
        hop=64,
        stride=4,
        channels=channels,
        growth=growth,
        bands=bands,
        width=2 * head_width,
        mix_heads=2,
        attention=3 * attention,
        heads=3,
        time_channels=time_channels,
        attention_window=window,
        blocks=blocks,
        ffn=11,
    )
    net = network(config)
    lowered = lower_enhancer(net, target)
    audio = noise(30 * config.hop)
    out = stream(lowered, list(lowered.init_state().values()), audio, config.hop)
    torch.testing.assert_close(out, net(audio)[0], atol=1e-5, rtol=1e-4)


def test_states_have_the_models_names_and_sizes():
    net = network(SMALL)
    ours, theirs = lower_enhancer(net, "onnx").init_state(), net.init_state()
    assert list(ours) == list(theirs)
    assert [v.numel() for v in ours.values()] == [v.numel() for v in theirs.values()]


def test_every_weight_of_the_rows_is_a_linears():
    lowered = lower_enhancer(network(SMALL), "executorch")
    linears = [m for m in lowered.modules() if isinstance(m, nn.Linear)]
    assert sum(p.numel() for p in lowered.parameters()) == sum(p.numel() for m in linears for p in m.parameters())
    assert not any(p.requires_grad for p in lowered.parameters())


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("keep", [0.5, 0.1])
def test_pruned_networks_run_reload_and_lower(bidirectional, keep):
    config = EnhancerConfig(bidirectional=bidirectional)
    net = network(config)
    before = {name: p.numel() for name, p in net.named_parameters()}
    with torch.enable_grad():
        prune_evenly(net, keep)
    after = {name: p.numel() for name, p in net.named_parameters()}
    whole = {"analysis.weight", "synthesis.weight", "mask.bias"}
    whole |= {n for n in before if "lag_bias" in n or n.endswith(("down.weight", "up.weight", "mix.weight"))}
    assert all(after[n] == before[n] if n in whole else after[n] < before[n] for n in before)
    assert net.tat.attention.scale == (config.attention // config.heads) ** -0.5

    again = Enhancer(config).eval()
    fit_widths(again, net.state_dict())
    again.load_state_dict(net.state_dict())
    audio = noise(40 * config.hop)
    assert torch.equal(again(audio)[0], net(audio)[0])
    if not bidirectional:
        lowered = lower_enhancer(net, "onnx")
        out = stream(lowered, list(lowered.init_state().values()), audio, config.hop)
        torch.testing.assert_close(out, net(audio)[0], atol=1e-5, rtol=0)


def test_what_cannot_be_lowered_is_refused():
    with pytest.raises(InputError, match="bidirectional"):
        lower_enhancer(Enhancer(EnhancerConfig(bidirectional=True)), "onnx")
    net = network(SMALL)
    with torch.no_grad():
        net.fuse.linear.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        lower_enhancer(net, "onnx")


@torch.no_grad()
def test_onnx_runtime_streams_the_same(tmp_path):
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    net = network(SMALL)
    lowered = lower_enhancer(net, "onnx")
    states = lowered.init_state()
    names = ["audio", *states]
    torch.onnx.export(
        lowered,
        (torch.zeros(1, SMALL.hop), *states.values()),
        tmp_path / "model.onnx",
        dynamo=True,
        input_names=names,
        output_names=["enhanced", *(f"next_{n}" for n in states)],
        external_data=False,
        verbose=False,
    )
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])

    def step(*tensors):
        feeds = {n: t.numpy() for n, t in zip(names, tensors, strict=True)}
        return [torch.from_numpy(o) for o in session.run(None, feeds)]

    audio = noise(50 * SMALL.hop)
    out = stream(step, list(states.values()), audio, SMALL.hop)
    torch.testing.assert_close(out, net(audio)[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_executorch_delegates_all_and_streams_the_same():
    pytest.importorskip("executorch.exir")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.devtools.backend_debug import get_delegation_info
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    net = network(replace(SMALL, blocks=1))
    lowered = lower_enhancer(net, "executorch")
    states = list(lowered.init_state().values())
    exported = torch.export.export(lowered, (torch.zeros(1, SMALL.hop), *states))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    left = get_delegation_info(edge.exported_program().graph_module).delegation_by_operator
    assert {op for op, count in left.items() if count.non_delegated} <= {"getitem"}

    program = edge.to_executorch().buffer  # kept alive: the runtime reads it in place
    method = Runtime.get().load_program(program).load_method("forward")

    def step(*tensors):
        return [t.clone() for t in method.execute([t.contiguous() for t in tensors])]

    audio = noise(50 * SMALL.hop)
    torch.testing.assert_close(stream(step, states, audio, SMALL.hop), net(audio)[0], atol=1e-5, rtol=0)
