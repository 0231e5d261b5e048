"""Structured pruning: whole channels leave, so that the network is smaller on any runtime.

torch-pruning's DependencyGraph (Fang et al. 2023, arXiv:2301.12900) finds what is coupled; importance is the group's
weight magnitude; every group loses the same share.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from edge.compression import enhancer_groups, htdemucs_groups
from edge.compression.groups import ChannelGroup, kept_heads, kept_width
from edge.errors import EdgeError, InputError
from edge.models.bag import Bag
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs

MAX_RATIO = 0.9


@dataclass(frozen=True)
class PruneResult:
    """The pruned copy, and the width of every channel group before and after."""

    model: nn.Module
    widths: dict[str, tuple[int, int]]


def check_ratio(ratio: float) -> None:
    """Raises InputError where `ratio` is no share of channels that can be removed."""
    if not 0 <= ratio <= MAX_RATIO:
        raise InputError(f"the prune ratio must lie between 0 and {MAX_RATIO}, not {ratio}")


def prune(model: nn.Module, ratio: float) -> PruneResult:
    """Remove about `ratio` of the channels of an HTDemucs or Enhancer; the model given stays as it is.

    ratio: in [0, 0.9]; parameters and MACs fall by about 1 - (1 - ratio)^2. Raises InputError for another ratio.
    """
    check_ratio(ratio)
    if isinstance(model, Bag):
        results = [prune(member, ratio) for member in model.models]
        widths = {f"{i}.{k}": v for i, result in enumerate(results) for k, v in result.widths.items()}
        return PruneResult(Bag([result.model for result in results]).eval(), widths)  # type: ignore[list-item]
    model = copy.deepcopy(model).train(False).requires_grad_(True)
    widths = {}
    if ratio:
        groups, trace = _recipe(model)
        graph = tp.DependencyGraph()
        with torch.inference_mode(False), torch.enable_grad():  # the dependencies are read off the autograd graph
            graph.build_dependency(model, **trace)
        importance = tp.importance.GroupMagnitudeImportance(p=2)
        for group in list(groups(model)):
            widths[group.name] = _prune_group(graph, group, ratio, importance)
        _settle(model, ratio)
    model.zero_grad()
    return PruneResult(model.eval(), widths)


def _recipe(model: nn.Module) -> tuple[Callable[[Any], Iterator[ChannelGroup]], dict[str, Any]]:
    if isinstance(model, HTDemucs):
        return htdemucs_groups.prune_seeds, htdemucs_groups.trace_arguments(model)
    if isinstance(model, Enhancer):
        return enhancer_groups.prune_seeds, enhancer_groups.trace_arguments(model)
    raise TypeError(f"no channel groups known for {type(model).__name__}")


def _settle(model: nn.Module, ratio: float) -> None:
    """What follows from the new widths beside the layers themselves."""
    if isinstance(model, HTDemucs):
        htdemucs_groups.settle_heads(model, ratio)
    elif isinstance(model, Enhancer):
        model.config = enhancer_groups.pruned_config(model)


def _prune_group(
    graph: tp.DependencyGraph, group: ChannelGroup, ratio: float, importance: tp.importance.Importance
) -> tuple[int, int]:
    pruner = graph.get_pruner_of_module(group.module)
    out = group.side == "out"
    width = pruner.get_out_channels(group.module) if out else pruner.get_in_channels(group.module)
    function = pruner.prune_out_channels if out else pruner.prune_in_channels
    score = importance(graph.get_pruning_group(group.module, function, idxs=list(range(width))))
    if score is None or len(score) != width:
        raise EdgeError(f"pruning: group {group.name} has no importance of its own width {width}")
    keep = _kept_channels(score, group, ratio)
    drop = [i for i in range(width) if i not in keep]
    if not drop:
        return width, width
    coupled = graph.get_pruning_group(group.module, function, idxs=drop)
    if not graph.check_pruning_group(coupled):
        raise EdgeError(f"pruning: group {group.name} would lose all of its channels")
    coupled.prune()
    return width, len(keep)


def _kept_channels(score: torch.Tensor, group: ChannelGroup, ratio: float) -> set[int]:
    """The most important channels: of the whole group, or of each head that stays."""
    per_head = score.reshape(group.heads, -1)
    heads, width = per_head.shape
    if group.whole_heads:
        left = kept_heads(heads, ratio)
        chosen = torch.argsort(per_head.sum(1), descending=True)[:left].tolist()
        width = kept_width(width, 1 - heads * (1 - ratio) / left)
    else:
        chosen, width = list(range(heads)), kept_width(width, ratio)
    best = torch.argsort(per_head, dim=1, descending=True)[:, :width].tolist()
    return {head * per_head.shape[1] + i for head in chosen for i in best[head]}
