"""Structured pruning: whole channels leave, so that the network is smaller on any runtime.

torch-pruning's DependencyGraph (Fang et al. 2023, arXiv:2301.12900) finds what is coupled; importance is the group's
weight magnitude; every group loses the same share, and attention heads are thinned evenly.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from edge.compression import enhancer_groups, htdemucs_groups
from edge.compression.groups import ChannelGroup
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


def prune(model: nn.Module, ratio: float) -> PruneResult:
    """Remove about `ratio` of the channels of an HTDemucs or Enhancer; the model given stays as it is.

    ratio: in [0, 0.9]; parameters and MACs fall by about 1 - (1 - ratio)^2. Raises InputError for another ratio.
    """
    if not 0 <= ratio <= MAX_RATIO:
        raise InputError(f"the prune ratio must lie between 0 and {MAX_RATIO}, not {ratio}")
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
        _settle(model)
    model.zero_grad()
    return PruneResult(model.eval(), widths)


def _recipe(model: nn.Module) -> tuple[Callable[[Any], Iterator[ChannelGroup]], dict[str, Any]]:
    if isinstance(model, HTDemucs):
        return htdemucs_groups.prune_seeds, htdemucs_groups.trace_arguments(model)
    if isinstance(model, Enhancer):
        return enhancer_groups.prune_seeds, enhancer_groups.trace_arguments(model)
    raise TypeError(f"no channel groups known for {type(model).__name__}")


def _settle(model: nn.Module) -> None:
    """What follows from the new widths beside the layers themselves."""
    if isinstance(model, Enhancer):
        model.config = enhancer_groups.pruned_config(model)


def kept_width(width: int, ratio: float) -> int:
    """Channels left of `width`: rounded to eighths for vector units where the group is wide enough."""
    step = 8 if width >= 48 else 4 if width >= 16 else 1
    return min(width, max(step if width >= 16 else 1, round(width * (1 - ratio) / step) * step))


def _prune_group(
    graph: tp.DependencyGraph, group: ChannelGroup, ratio: float, importance: tp.importance.Importance
) -> tuple[int, int]:
    pruner = graph.get_pruner_of_module(group.module)
    out = group.side == "out"
    width = pruner.get_out_channels(group.module) if out else pruner.get_in_channels(group.module)
    function = pruner.prune_out_channels if out else pruner.prune_in_channels
    head = width // group.heads
    kept = kept_width(head, ratio)
    if kept == head:
        return width, width
    score = importance(graph.get_pruning_group(group.module, function, idxs=list(range(width))))
    if score is None or len(score) != width:
        raise EdgeError(f"pruning: group {group.name} has no importance of its own width {width}")
    drop = [
        start + int(i)
        for start in range(0, width, head)
        for i in torch.argsort(score[start : start + head])[: head - kept]
    ]
    coupled = graph.get_pruning_group(group.module, function, idxs=sorted(drop))
    if not graph.check_pruning_group(coupled):
        raise EdgeError(f"pruning: group {group.name} would lose all of its channels")
    coupled.prune()
    return width, kept * group.heads
