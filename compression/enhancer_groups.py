"""The enhancer's groups of coupled channels, and how to trace it for torch-pruning.

The filterbank keeps its width: its pairs are the signal, not features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from edge.compression.groups import ChannelGroup
from edge.errors import EdgeError
from edge.models.causal import TimeAttentionTransformer
from edge.models.enhancer import Enhancer, EnhancerConfig


def _layers(model: Enhancer) -> list[TimeAttentionTransformer]:
    return cast("list[TimeAttentionTransformer]", list(model.tat))


def prune_seeds(model: Enhancer) -> Iterator[ChannelGroup]:
    """One `ChannelGroup` for each set of coupled channels, seeded where it is as wide as one module's side."""
    yield ChannelGroup("channels", model.encoder, "out")
    for i, conv in enumerate(model.dense.convs):
        yield ChannelGroup(f"dense{i}", conv, "out")
    yield ChannelGroup("gru", model.gru.input_new, "out")
    if model.config.bidirectional:
        yield ChannelGroup("gru_backward", model.gru_backward.input_new, "out")
    for i, layer in enumerate(_layers(model)):
        yield ChannelGroup(f"heads{i}", layer.attention.q, "out", heads=layer.attention.heads)
        yield ChannelGroup(f"ffn{i}", layer.linear1, "out")
    yield ChannelGroup("latent", model.latent, "out")
    decoder = model.time_decoder
    yield ChannelGroup("time1", decoder.conv1, "out")
    yield ChannelGroup("time2", decoder.conv2, "out")
    yield ChannelGroup("time_mid", decoder.mid, "out")
    yield ChannelGroup("time_post", decoder.post, "out")


def trace_arguments(model: Enhancer) -> dict[str, Any]:
    """Keyword arguments of `torch_pruning.DependencyGraph.build_dependency` for the model as it is now.

    Two hops, so that the GRU's output is seen to feed its hidden side. States are made for the present widths: trace
    again after pruning. Lag biases belong to heads, not to channels, and are left alone.
    """
    state = None if model.config.bidirectional else model.init_state()
    audio = 0.1 * torch.randn(1, 2 * model.config.hop, generator=torch.Generator().manual_seed(0))

    def forward(net: nn.Module, inputs: tuple) -> torch.Tensor:
        return net(*inputs)[0]  # without the states: a cache's axis of heads would be read as channels

    return {
        "example_inputs": (audio, state),
        "forward_fn": forward,
        "ignored_params": [layer.attention.lag_bias for layer in _layers(model)],
        "verbose": False,
    }


def pruned_config(model: Enhancer) -> EnhancerConfig:
    """The config of the model's present widths, so that `Enhancer(pruned_config(m))` takes m's state dict.

    Raises:
        EdgeError: like layers have come to differ in width, which a config cannot say.
    """

    def same(name: str, widths: list[int]) -> int:
        if len(set(widths)) > 1:
            raise EdgeError(f"{name} differ in width ({widths}): prune them by one ratio")
        return widths[0]

    heads, layers, decoder = model.config.heads, _layers(model), model.time_decoder
    return replace(
        model.config,
        channels=model.encoder.out_features,
        growth=same("dense layers", [cast(nn.Conv1d, c).out_channels for c in model.dense.convs]),
        gru=same(
            "the GRU's directions",
            [model.gru.width] + ([model.gru_backward.width] if model.config.bidirectional else []),
        ),
        head_dim=same("attention layers", [t.attention.q.out_features // heads for t in layers]),
        ffn=same("feed-forward layers", [t.linear1.out_features for t in layers]),
        latent=model.latent.out_features,
        time_channels=(
            same("time-domain outer layers", [decoder.conv1.out_channels, decoder.post.out_channels]),
            same("time-domain inner layers", [decoder.conv2.out_channels, decoder.mid.out_channels]),
        ),
    )
