"""Structured pruning: whole channels, heads and residual branches leave, so that the network is smaller anywhere.

torch-pruning's DependencyGraph (Fang et al. 2023, arXiv:2301.12900) finds what is coupled and removes it. What is
removed is decided over the whole network at once, from the output energy that goes with each channel on real audio
(`importance`), from what it costs (`workload`), and from floors (`allocate`).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from edge.compression.allocate import Allocation, Candidate, Use, allocate
from edge.compression.architectures import Pruning, pruning_of
from edge.compression.groups import Branch, ChannelGroup, width_step
from edge.compression.importance import mean_squares
from edge.compression.workload import WEIGHTED, workload
from edge.errors import EdgeError, InputError
from edge.models.bag import members, with_members

MAX_RATIO = 0.9


@dataclass(frozen=True)
class PruneResult:
    """The pruned copy, and the width of every channel group before and after (of a branch: 1 and 1 or 0)."""

    model: nn.Module
    widths: dict[str, tuple[int, int]]


def check_ratio(ratio: float) -> None:
    """Raises InputError where no network can be pruned by `ratio`."""
    if not 0 <= ratio <= MAX_RATIO:
        raise InputError(f"the prune ratio must lie between 0 and {MAX_RATIO}, not {ratio}")


def prune(model: nn.Module, ratio: float, clips: Sequence[Tensor] | None = None) -> PruneResult:
    """Thin a network to what thinning every width alike would leave; a copy is returned.

    To 1 - ratio of every width, for a separator: products and weights then fall by about 1 - (1 - ratio)^2. For an
    enhancer to the root of that, so that products and weights fall by `ratio`. What is left is distributed so that as
    much of the output as possible is kept. No group falls below half of its uniform share.

    ratio: in [0, 0.9]. clips: inputs for the model's forward, to judge the channels by (default: shipped recordings).
    Raises InputError for another ratio.
    """
    check_ratio(ratio)
    if members(model)[0] is not model:
        results = [prune(member, ratio, clips) for member in members(model)]
        widths = {f"{i}.{k}": v for i, result in enumerate(results) for k, v in result.widths.items()}
        return PruneResult(with_members(model, [result.model for result in results]), widths)
    model = copy.deepcopy(model).train(False).requires_grad_(True)
    widths = {}
    if ratio:
        with torch.inference_mode(False), torch.enable_grad():  # dependencies are read off the autograd graph
            recipe = pruning_of(model)
            widths = _prune(model, recipe, recipe.width(ratio), clips or recipe.clips(model))
    model.zero_grad()
    return PruneResult(model.eval(), widths)


def _prune(model: nn.Module, recipe: Pruning, width: float, clips: Sequence[Tensor]) -> dict[str, tuple[int, int]]:
    """Thin `model` in place; width: the share of every width whose work and weights are to be left."""
    groups, branches = recipe.groups(model), recipe.branches(model)
    graph = tp.DependencyGraph()
    graph.build_dependency(model, **recipe.trace(model))
    scorer = tp.importance.GroupTaylorImportance(group_reduction="max", normalizer=None, multivariable=True)
    coupled = [_coupled(graph, group) for group in groups]

    def scores() -> list[Tensor]:
        each = [scorer(group) for group in coupled]
        if any(score is None or len(score) != _width(graph, g) for score, g in zip(each, groups, strict=True)):
            raise EdgeError("pruning: a group of channels has no importance of its own width")
        return each + [(b.scale * b.scale.grad).sum().reshape(1) for b in branches]

    energy = mean_squares(model, recipe.output, clips, scores)
    names = {module: name for name, module in model.named_modules()}
    thinned = [
        _group_candidate(graph, group, parts, score, width, names)
        for group, parts, score in zip(groups, coupled, energy[: len(groups)], strict=True)
    ]
    removable = _branch_candidates(branches, energy[len(groups) :], width, names)
    allocation = allocate(thinned + removable, workload(model), width)
    widths = {}
    for group, candidate in zip(groups, thinned, strict=True):
        widths[group.name] = _remove(graph, group, candidate, allocation)
    for branch in branches:
        widths[branch.name] = (1, allocation.kept[branch.name])
        if not allocation.kept[branch.name]:
            branch.remove()
    recipe.settle(model)
    return widths


def _width(graph: tp.DependencyGraph, group: ChannelGroup) -> int:
    pruner = graph.get_pruner_of_module(group.module)
    return pruner.get_out_channels(group.module) if group.side == "out" else pruner.get_in_channels(group.module)


def _coupled(graph: tp.DependencyGraph, group: ChannelGroup, channels: list[int] | None = None) -> Any:
    """Everything that goes with these channels of the group (default: all)."""
    pruner = graph.get_pruner_of_module(group.module)
    function = pruner.prune_out_channels if group.side == "out" else pruner.prune_in_channels
    indices = list(range(_width(graph, group))) if channels is None else channels
    return graph.get_pruning_group(group.module, function, idxs=indices)


def _group_candidate(
    graph: tp.DependencyGraph, group: ChannelGroup, parts: Any, energy: Tensor, kept: float, names: dict
) -> Candidate:
    per_head = energy.reshape(group.heads, -1)
    heads, width = per_head.shape
    if group.whole_heads:
        order = torch.argsort(per_head.sum(1), descending=True).tolist()
        blocks = [[head * width + i for i in range(width)] for head in order]
    else:
        ranks = torch.argsort(per_head, dim=1, descending=True).tolist()
        step = width_step(width)
        ends = sorted({*range(step, width, step), width})
        starts = [0, *ends[:-1]]
        blocks = [
            [head * width + i for head in range(heads) for i in ranks[head][start:end]]
            for start, end in zip(starts, ends, strict=True)
        ]
    uses = []
    for dependency, indices in parts:
        layer = dependency.target.module
        if isinstance(layer, WEIGHTED):
            side = "out" if graph.is_out_channel_pruning_fn(dependency.handler) else "in"
            pruner = graph.get_pruner_of_module(layer)
            whole = pruner.get_out_channels(layer) if side == "out" else pruner.get_in_channels(layer)
            uses.append(Use(names[layer], side, len(indices) / whole))
    floor = max(1, math.floor(len(blocks) * kept / 2))
    return Candidate(group.name, blocks, torch.stack([energy[block].sum() for block in blocks]), floor, uses)


def _branch_candidates(
    branches: Sequence[Branch], energy: Sequence[Tensor], kept: float, names: dict
) -> list[Candidate]:
    """At least the share `kept` of all branches stays: those that carry most stay in any case."""
    order = sorted(range(len(branches)), key=lambda i: float(energy[i]), reverse=True)
    safe = set(order[: math.ceil(len(branches) * kept)])
    found = []
    for i, (branch, value) in enumerate(zip(branches, energy, strict=True)):
        layers = [names[m] for m in branch.module.modules() if isinstance(m, (nn.Conv1d, nn.Linear))]
        found.append(Candidate(branch.name, [[0]], value, int(i in safe), layers=layers))
    return found


def _remove(
    graph: tp.DependencyGraph, group: ChannelGroup, candidate: Candidate, allocation: Allocation
) -> tuple[int, int]:
    width, kept = _width(graph, group), allocation.kept[candidate.name]
    drop = sorted(i for block in candidate.blocks[kept:] for i in block)
    if drop:
        parts = _coupled(graph, group, drop)
        if not graph.check_pruning_group(parts):
            raise EdgeError(f"pruning: group {group.name} would lose all of its channels")
        parts.prune()
    return width, width - len(drop)
