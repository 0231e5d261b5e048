"""The enhancer's groups of coupled channels, and how to trace it for torch-pruning.

The filterbank keeps its width: its pairs are the signal, not features. So do bands: they are places, not channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from edge.compression.groups import ChannelGroup
from edge.models.enhancer import Enhancer
from edge.models.enhancer.bands import BandBias, BandMap, BandPool, BandSpread


def prune_seeds(model: Enhancer) -> Iterator[ChannelGroup]:
    """One `ChannelGroup` for each set of coupled channels, seeded where it is as wide as one module's side."""
    yield ChannelGroup("encoder", model.encoder.conv, "out")
    for i, layer in enumerate(model.dense.layers):
        yield ChannelGroup(f"dense{i}", layer.conv, "out")
    yield ChannelGroup("dense_out", model.dense.out.linear, "out")
    yield ChannelGroup("bands", model.to_bands.linear, "out")
    for i, (recurrence, mix) in enumerate(zip(model.recurrences, model.mixes, strict=True)):
        yield ChannelGroup(f"gru{i}", recurrence.gru.input_new, "out")
        if recurrence.backward_gru is not None:
            yield ChannelGroup(f"gru_backward{i}", recurrence.backward_gru.input_new, "out")
        yield ChannelGroup(f"mix{i}", mix.value, "out", heads=mix.mix.weight.shape[0])
    yield ChannelGroup("attention", model.pool, "out")
    yield ChannelGroup("heads", model.tat.attention.q, "out", heads=model.tat.attention.heads)
    yield ChannelGroup("ffn", model.tat.linear1, "out")
    yield ChannelGroup("from_bands", model.from_bands.linear, "out")
    yield ChannelGroup("fuse", model.fuse.linear, "out")
    yield ChannelGroup("decoder", model.decoder.conv, "out")
    stage = model.time_stage
    for name, block in stage.convs().items():
        yield ChannelGroup(f"time_{name}", block.conv, "out")


def _thin(layer: nn.Module, axis: int, idxs: list[int]) -> nn.Module:
    """Take entries of one axis out of all parameters of the layer that have it."""
    for name, parameter in list(layer.named_parameters(recurse=False)):
        if axis < parameter.dim():
            keep = torch.ones(parameter.shape[axis], dtype=torch.bool)
            keep[idxs] = False
            setattr(layer, name, nn.Parameter(parameter.data.movedim(axis, 0)[keep].movedim(0, axis).contiguous()))
    return layer


class _TwoSided(tp.pruner.BasePruningFunc):
    """A weight with an axis of its own for each side."""

    out_axis: int
    in_axis: int

    def prune_out_channels(self, layer: nn.Module, idxs: list[int]) -> nn.Module:
        return _thin(layer, self.out_axis, idxs)

    def prune_in_channels(self, layer: nn.Module, idxs: list[int]) -> nn.Module:
        return _thin(layer, self.in_axis, idxs)

    def get_out_channels(self, layer: nn.Module) -> int:
        return layer.weight.shape[self.out_axis]

    def get_in_channels(self, layer: nn.Module) -> int:
        return layer.weight.shape[self.in_axis]


class BandPoolPruner(_TwoSided):
    """(outputs, bands, channels)."""

    TARGET_MODULES = BandPool
    out_axis, in_axis = 0, 2


class BandSpreadPruner(_TwoSided):
    """(bands, channels, inputs)."""

    TARGET_MODULES = BandSpread
    out_axis, in_axis = 1, 2


class BandBiasPruner(tp.pruner.BasePruningFunc):
    """(bands, channels): an addition."""

    TARGET_MODULES = BandBias

    def prune_out_channels(self, layer: nn.Module, idxs: list[int]) -> nn.Module:
        return _thin(layer, 1, idxs)

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        return layer.weight.shape[1]

    get_in_channels = get_out_channels


class BandMapPruner(tp.pruner.BasePruningFunc):
    """Bands are mixed, channels pass."""

    TARGET_MODULES = BandMap

    def prune_out_channels(self, layer: nn.Module, idxs: list[int]) -> nn.Module:
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> None:
        return None

    get_in_channels = get_out_channels


def trace_arguments(model: Enhancer) -> dict[str, Any]:
    """Keyword arguments of `torch_pruning.DependencyGraph.build_dependency` for the model as it is now.

    Two hops, so that the GRU's output is seen to feed its hidden side. States are made for the present widths: trace
    again after pruning. Lag biases belong to heads, not to channels, and are left alone.
    """
    state = None if model.config.bidirectional else model.init_state()
    audio = 0.1 * torch.randn(1, 2 * model.config.hop, generator=torch.Generator().manual_seed(0))

    def forward(net: nn.Module, inputs: tuple) -> torch.Tensor:
        return net(*inputs)[0]  # without the states: a cache's axis of heads would be read as channels

    pruners = (BandPoolPruner, BandSpreadPruner, BandBiasPruner, BandMapPruner)
    return {
        "example_inputs": (audio, state),
        "forward_fn": forward,
        "ignored_params": [model.tat.attention.lag_bias],
        "customized_pruners": {p.TARGET_MODULES: p() for p in pruners},
        "verbose": False,
    }
