"""The report as JSON, text and Markdown: python -m edge.benchmarks.arm.report docs/results/arm.json docs/arm.md"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.benchmarks import tables
from edge.benchmarks.arm.budget import CLASSES, Budget
from edge.benchmarks.arm.cores import NAMED_CORES, least_milliseconds
from edge.benchmarks.documents import Marks, read_json, write_text
from edge.benchmarks.tables import number
from edge.console import run_command

MARKS = Marks(
    "<!-- ARM64 tables: made by `python -m edge.benchmarks.arm.report` -->", "<!-- end of the ARM64 tables -->"
)
_COLUMNS = ("total", *CLASSES, "other")
_NAMES = ("model", "precision", "pruned", "backend", "core")


def content(budgets: Sequence[Budget], failures: Sequence[str] = ()) -> dict[str, Any]:
    """The report: each budget with the lower bound in ms for one second of audio on the named cores."""
    results = [dataclasses.asdict(budget) | {"least_ms_per_second": _bounds(budget)} for budget in budgets]
    return {"named_cores": [dataclasses.asdict(core) for core in NAMED_CORES], "results": results} | (
        {"failures": list(failures)} if failures else {}
    )


def _bounds(budget: Budget) -> dict[str, float]:
    cores = [core for core in NAMED_CORES if core.counted_on == budget.core]
    return {core.name: round(least_milliseconds(budget.per_second, core), 3) for core in cores}


def text(report: dict[str, Any]) -> str:
    """For a terminal: M instructions for one second of audio by class, parity and steadiness."""
    header = [*_NAMES, "golden dB", *_COLUMNS, "first", "largest", "spread", "weights MB/s", "least ms/s"]
    rows = [header]
    for r in report["results"]:
        bounds = ", ".join(f"{name} {ms:.2g}" for name, ms in r["least_ms_per_second"].items())
        rows.append([*_case(r), f"{r['golden_snr_db']:.0f}", *_counts(r), *_steady(r), _weights(r), bounds])
    note = "M instructions for one second of audio; first, largest: a hop over the median; spread: over the repeats"
    return f"{tables.columns(rows, {*range(len(_NAMES)), len(header) - 1})}\n{note}"


def markdown(content: dict[str, Any]) -> str:
    """The tables of docs/arm.md, from `content` as `content()` made it: counts, steadiness and parity, bounds."""
    results = content["results"]
    counts = [[*_NAMES, *_COLUMNS, "weights, MB"], *([*_case(r), *_counts(r), _weights(r)] for r in results)]
    steady = ["hops counted", "first / median", "largest / median", "repeats apart"]
    checks = [[*_NAMES, "golden check, dB", "needed", *steady]]
    for r in results:
        golden = [f"{r['golden_snr_db']:.0f}", f"{r['golden_min_snr_db']:.0f}", str(r["hops"])]
        checks.append([*_case(r), *golden, *_steady(r)])
    cores = content["named_cores"]
    by_case: dict[tuple[str, ...], dict[str, float]] = {}
    for r in results:
        by_case.setdefault(tuple(_case(r)[:-1]), {}).update(r["least_ms_per_second"])
    titles = [f"{c['name']} ({c['device']}), {c['clock_hz'] / 1e9:g} GHz, {c['fma_per_cycle']} a cycle" for c in cores]
    bounds = [[*_NAMES[:-1], *titles]]
    bounds += [[*case, *(number(found.get(c["name"]), 1, 1) for c in cores)] for case, found in by_case.items()]
    versions = {f"{name} {version}" for r in results for name, version in r["tools"].items()}
    return "\n\n".join(
        [
            "**Millions of instructions for one second of audio**, by class; weights: read for one second of audio.",
            tables.markdown(counts, len(_NAMES)),
            "**Golden check on the emulated core**, and how steady the counts are.",
            tables.markdown(checks, len(_NAMES)),
            "**Lower bound, ms for one second of audio on one core**: the vector multiply-accumulates alone, at the "
            "core's peak rate of 128-bit operations. No estimate of the time.",
            tables.markdown(bounds, len(_NAMES) - 1),
            f"Counted with {', '.join(sorted(versions))}, one thread.",
        ]
    )


def _case(r: dict[str, Any]) -> list[str]:
    return [r["name"], r["precision"], f"{r['prune_ratio']:g}", r["backend"], r["core"]]


def _counts(r: dict[str, Any]) -> list[str]:
    return [_millions(r["per_second"][column]) for column in _COLUMNS]


def _steady(r: dict[str, Any]) -> list[str]:
    """The first and the largest hop over the median, and how far the repeats lie apart, where there are several."""
    apart = f"{max(r['repeats']) / min(r['repeats']) - 1:.2%}" if len(r["repeats"]) > 1 else ""
    return [f"{r['first']:.2f}", f"{r['largest']:.3f}", apart]


def _millions(count: float) -> str:
    millions = count / 1e6
    return "0" if count == 0 else f"{millions:,.0f}" if millions >= 100 else f"{millions:.3g}"


def _weights(r: dict[str, Any]) -> str:
    return f"{r['weight_bytes_per_second'] / 1e6:.3g}"


def _main(report: Path, document: Path) -> None:
    write_text(document, MARKS.replaced(document.read_text(), markdown(read_json(report))))


if __name__ == "__main__":
    sys.exit(run_command("edge.benchmarks.arm.report", lambda: _main(*map(Path, sys.argv[1:]))))
