"""Which channels stay: the most output energy for a budget of work and weights, over the whole network at once.

A knapsack by Lagrange multiplier: blocks of channels (a vector's width, a head, a residual branch) are kept where the
energy that goes with them exceeds a price times what they cost. Two budgets, work and weights, are met together; the
mixture of both costs that keeps most energy is found by trying a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge.compression.workload import LayerWork

Workload = Mapping[str, LayerWork]

_MIXTURES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


@dataclass(frozen=True)
class Use:
    """One side of a weighted layer whose channels belong to a group; `share`: of that side's width."""

    layer: str
    side: str
    share: float


@dataclass(frozen=True)
class Candidate:
    """A group or branch to thin.

    blocks: channel indices of each block, best first; energy: of each block; floor: blocks that always stay;
    uses: where the channels lie; layers: those that vanish with it (a branch has one block and no uses).
    """

    name: str
    blocks: Sequence[Sequence[int]]
    energy: Tensor
    floor: int
    uses: Sequence[Use] = ()
    layers: Sequence[str] = ()


@dataclass(frozen=True)
class Allocation:
    """Blocks kept by candidate, and the shares of the prunable work and weights that are left."""

    kept: Mapping[str, int]
    work: float
    weights: float


def allocate(candidates: Sequence[Candidate], workload: Workload, width: float) -> Allocation:
    """Choose blocks so that no more work and weights are left than if every width were `width` (0 to 1) of what it is,
    floors permitting."""
    left = _Left(candidates, workload)
    costs = [_block_costs(c, workload, left) for c in candidates]
    budget = left.uniform(width)
    best: tuple[float, Allocation] | None = None
    for mixture in _MIXTURES:
        worth = [
            c.energy.sqrt() / (mixture * work + (1 - mixture) * weights + 1e-15)
            for c, (work, weights) in zip(candidates, costs, strict=True)
        ]
        found = _most_that_fits(candidates, worth, left, budget)
        energy = sum(float(c.energy.sqrt()[: found.kept[c.name]].sum()) for c in candidates)
        if best is None or energy > best[0]:
            best = energy, found
    assert best is not None
    return best[1]


class _Left:
    """Shares of work and weights left for given numbers of kept blocks; one where nothing is removed."""

    def __init__(self, candidates: Sequence[Candidate], workload: Workload):
        self.uses: dict[tuple[str, str], list[tuple[str, float, int]]] = {}
        self.branch_of: dict[str, str] = {}
        for c in candidates:
            for use in c.uses:
                self.uses.setdefault((use.layer, use.side), []).append((c.name, use.share, len(c.blocks)))
            for name in c.layers:
                self.branch_of[name] = c.name
        touched = {layer for layer, _ in self.uses} | set(self.branch_of)
        self.layers = {name: work for name, work in workload.items() if name in touched}
        self.total_work = self.total_weights = 1.0
        self.total_work, self.total_weights = (max(t, 1e-12) for t in self({}))

    def __call__(self, kept: Mapping[str, int]) -> tuple[float, float]:
        branches = {name for name, owner in self.branch_of.items() if kept.get(owner, 1) == 0}
        return self._sum(lambda group, blocks: kept.get(group, blocks) / blocks, branches)

    def uniform(self, width: float) -> tuple[float, float]:
        """The shares that are left where every prunable side of every layer keeps `width` of its channels."""
        return self._sum(lambda *_: width, set())

    def _sum(self, kept: Callable[[str, int], float], removed: set[str]) -> tuple[float, float]:
        """kept: share of a group, by its name and number of blocks; removed: layers that are gone."""
        work = weights = 0.0
        for name, layer in self.layers.items():
            if name not in removed:
                sides = []
                for side in ("in", "out"):
                    lost = sum(share * (1 - kept(group, n)) for group, share, n in self.uses.get((name, side), ()))
                    sides.append(1 - min(lost, 1.0))
                more_work, more_weights = layer.left(*sides)
                work, weights = work + more_work, weights + more_weights
        return work / self.total_work, weights / self.total_weights


def _block_costs(candidate: Candidate, workload: Workload, left: _Left) -> tuple[float, float]:
    """Shares of all work and weights that one block costs while the rest of the network is whole."""
    work = weights = 0.0
    for use in candidate.uses:
        layer, share = workload[use.layer], use.share / len(candidate.blocks)
        work += share * (layer.products + (layer.after if use.side == "out" else layer.before))
        weights += share * layer.weights
    for name in candidate.layers:
        layer = workload[name]
        work, weights = work + layer.left(1, 1)[0], weights + layer.weights
    return work / left.total_work, weights / left.total_weights


def _most_that_fits(
    candidates: Sequence[Candidate],
    worth: Sequence[Tensor],
    left: Callable[[Mapping[str, int]], tuple[float, float]],
    budget: tuple[float, float],
) -> Allocation:
    """The largest set of blocks worth at least some price (`worth`: energy for cost) that fits the budget (work,
    weights); blocks of one group go in order."""

    def at(price: float) -> Allocation:
        kept = {}
        for c, value in zip(candidates, worth, strict=True):
            kept[c.name] = max(c.floor, int((value >= price).sum()))
        return Allocation(kept, *left(kept))

    everything = torch.cat([v.reshape(-1) for v in worth])
    prices = torch.unique(everything[everything > 0]).tolist()
    low, high = -1, len(prices)  # indices: all is kept below, floors alone above
    while high - low > 1:
        middle = (low + high) // 2
        found = at(prices[middle])
        if found.work > budget[0] or found.weights > budget[1]:
            low = middle
        else:
            high = middle
    return at(prices[high]) if high < len(prices) else at(math.inf)
