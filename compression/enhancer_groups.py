"""The enhancer's groups of coupled channels, and how to trace it for torch-pruning.

The filterbank keeps its width: its pairs are the signal, not features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from edge.compression.groups import ChannelGroup
from edge.models.causal import TimeAttentionTransformer
from edge.models.enhancer import Enhancer


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
