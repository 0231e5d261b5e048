"""HT Demucs' groups of coupled channels, each seeded on its single-width side (a gated layer is twice as wide)."""

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch_pruning as tp
from torch import nn

from edge.compression.groups import Branch, ChannelGroup
from edge.models.htdemucs import HTDemucs
from edge.models.transformer import PositionalEmbedding


def prune_seeds(model: HTDemucs) -> Iterator[ChannelGroup]:
    """One `ChannelGroup` for each set of channels that must be removed together."""
    c = model.config
    depth = c.depth
    transformed = c.t_layers > 0
    for branch, encoder, decoder in (("", model.encoder, model.decoder), ("t", model.tencoder, model.tdecoder)):
        for i in range(depth):
            yield ChannelGroup(f"{branch}encoder{i}", encoder[i].conv, "out")
            yield ChannelGroup(f"{branch}decoder{i}", decoder[i].conv_tr, "in")
            if i < depth - 1:
                yield ChannelGroup(f"{branch}skip{i}", decoder[i].conv_tr, "out")
    for name, blocks, d in _residuals(model):
        yield ChannelGroup(f"{name}.residual{d}", cast(nn.Sequential, blocks[d])[0], "out")
    if transformed and c.bottom_channels:
        yield ChannelGroup("skip_bottom", model.channel_downsampler, "out")
        yield ChannelGroup("tskip_bottom", model.channel_downsampler_t, "out")
        yield ChannelGroup("tokens", model.channel_upsampler, "out")
        yield ChannelGroup("ttokens", model.channel_upsampler_t, "out")
    elif transformed:
        net = model.crosstransformer
        yield ChannelGroup("tokens", net.layers[0].linear2, "out")
        yield ChannelGroup("ttokens", net.layers_t[0].linear2, "out")
    if transformed:
        net = model.crosstransformer
        for branch, layers in (("", net.layers), ("t", net.layers_t)):
            for i, layer in enumerate(layers):
                attention = layer.attention
                # whole heads: their softmax, over thousands of tokens, costs as much as the products around it
                yield ChannelGroup(f"{branch}heads{i}", attention.q, "out", attention.heads, whole_heads=True)
                yield ChannelGroup(f"{branch}ffn{i}", layer.linear1, "out")


class PositionalEmbeddingPruner(tp.pruner.BasePruningFunc):
    """Thins the kept channels of a positional table together with the tokens."""

    TARGET_MODULES = PositionalEmbedding

    def prune_out_channels(self, layer: nn.Module, idxs: list[int]) -> nn.Module:
        keep = torch.ones(len(layer.kept), dtype=torch.bool)
        keep[idxs] = False
        layer.kept = layer.kept[keep]
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        return len(layer.kept)

    get_in_channels = get_out_channels


def branches(model: HTDemucs) -> Iterator[Branch]:
    """The residual branches of encoders and decoders that are still there."""
    for name, blocks, d in _residuals(model):
        yield Branch(f"{name}.branch{d}", blocks, d, cast(nn.Sequential, blocks[d])[-1].scale)  # type: ignore[arg-type]


def _residuals(model: HTDemucs) -> Iterator[tuple[str, nn.ModuleList, int]]:
    """Name of the layer, its residual branches, and the number of one that is still there."""
    for name in ("encoder", "decoder", "tencoder", "tdecoder"):
        for i, layer in enumerate(getattr(model, name)):
            for d, residual in enumerate(layer.dconv.layers if layer.dconv else ()):
                if len(residual):
                    yield f"{name}{i}", layer.dconv.layers, d


def settle_heads(model: HTDemucs) -> None:
    """After pruning: tell every attention how many heads are left."""
    if model.config.t_layers:
        for layer in (*model.crosstransformer.layers, *model.crosstransformer.layers_t):
            layer.attention.heads = layer.attention.q.out_features // layer.attention.head_dim


def trace_arguments(model: HTDemucs) -> dict[str, Any]:
    """Keyword arguments of `torch_pruning.DependencyGraph.build_dependency`: the core only, on a short input."""
    c = model.config
    generator = torch.Generator().manual_seed(0)
    wave = torch.randn(1, c.audio_channels, 4096, generator=generator)
    spec = torch.randn(1, 2 * c.audio_channels, c.nfft // 2, 4, generator=generator)
    return {
        "example_inputs": (wave, spec),
        "forward_fn": lambda net, inputs: net.core(*inputs),
        "customized_pruners": {PositionalEmbedding: PositionalEmbeddingPruner()},
        "verbose": False,
    }
