"""The committed counts and the comparison with them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.benchmarks.arm.budget import Budget
from edge.benchmarks.documents import write_json
from edge.errors import InputError

# Vector arithmetic does not vary from run to run: a change of these shares says which kernel was lost or won.
KERNELS = ("fma", "dot", "matrix", "widening")


@dataclass(frozen=True)
class Entry:
    """What is kept of a case: its graph, and instructions of the median hop ("total" and by class)."""

    graph_sha256: str
    per_hop: dict[str, int]
    tools: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """change: relative to the baseline, of all instructions; failed: more than the tolerance above it."""

    key: str
    change: float
    failed: bool
    message: str


def load_baseline(path: Path) -> dict[str, Entry]:
    """Entries by case key; InputError where `path` is no baseline."""
    try:
        content = json.loads(path.read_text())
        entries = {key: Entry(**values) for key, values in content["cases"].items()}
        if not all(entry.per_hop["total"] > 0 for entry in entries.values()):
            raise ValueError
        return entries
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such baseline; write one with --update") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a baseline of instruction counts; write one with --update") from error


def save_baseline(path: Path, budgets: Sequence[Budget]) -> None:
    """Write `budgets` into the baseline; entries of cases that were not measured stay."""
    entries = load_baseline(path) if path.is_file() else {}
    entries |= {b.key: Entry(b.graph_sha256, b.per_hop, b.tools) for b in budgets}
    content: dict[str, Any] = {"cases": {key: dataclasses.asdict(entries[key]) for key in sorted(entries)}}
    write_json(content, path)


def compare(budget: Budget, baseline: Mapping[str, Entry], tolerance: float) -> Comparison:
    """Compare the instructions of one hop. Another graph than the baseline's is compared all the same: structure
    decides what it costs, not the weights in it. Raises InputError where the baseline lacks the case.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError("the tolerance must be a number that is not negative")
    entry = baseline.get(budget.key)
    if entry is None:
        raise InputError(f"{budget.key}: not in the baseline; record it with --update")
    was, now = entry.per_hop, budget.per_hop
    change = (now["total"] - was["total"]) / was["total"]
    # The same total can hide a lost int8 kernel: these are compared as shares of the whole.
    moved = {k: (now[k] - was.get(k, 0)) / was["total"] for k in KERNELS}
    lost = [k for k in ("dot", "matrix") if moved[k] < -tolerance or (now[k] == 0 < was.get(k, 0))]
    failed = change > tolerance or bool(lost)
    notes = [f"{was['total']:,} -> {now['total']:,} instructions a hop ({change:+.2%})"]
    notes += [f"{k} {share:+.1%} of the whole" for k, share in moved.items() if abs(share) > tolerance]
    if lost:
        notes.append(f"int8 {' and '.join(lost)} instructions lost")
    if change < -tolerance and not failed:
        notes.append("cheaper than the baseline: record it with --update")
    if failed or abs(change) > tolerance:
        notes += [f"{k} {entry.tools[k]} -> {v}" for k, v in budget.tools.items() if entry.tools.get(k, v) != v]
        notes.append("another graph" if budget.graph_sha256 != entry.graph_sha256 else "the same graph")
    return Comparison(budget.key, change, failed, "; ".join(notes))
