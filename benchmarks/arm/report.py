"""The report as JSON, text and Markdown: python -m edge.benchmarks.arm.report docs/results/arm.json docs/arm.md"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.benchmarks.arm.budget import CLASSES, Budget
from edge.benchmarks.arm.cores import NAMED_CORES, least_milliseconds

BEGIN, END = "<!-- ARM64 tables: made by `python -m edge.benchmarks.arm.report` -->", "<!-- end of the ARM64 tables -->"
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
        counts = [_millions(r["per_second"][column]) for column in _COLUMNS]
        steady = [f"{r['first']:.2f}", f"{r['largest']:.3f}", f"{_spread(r):.2%}"]
        rows.append([*_case(r), f"{r['golden_snr_db']:.0f}", *counts, *steady, _weights(r), bounds])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    left = {*range(len(_NAMES)), len(header) - 1}
    lines = [
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    note = "M instructions for one second of audio; first, largest: a hop over the median; spread: over the repeats"
    return "\n".join([*(line.rstrip() for line in lines), note])


def markdown(content: dict[str, Any]) -> str:
    """The tables of docs/arm.md, from `content` as `content()` made it: counts, steadiness and parity, bounds."""
    results = content["results"]
    counts = _table(
        [*_NAMES, *_COLUMNS, "weights, MB"],
        [[*_case(r), *(_millions(r["per_second"][c]) for c in _COLUMNS), _weights(r)] for r in results],
        len(_NAMES),
    )
    checks = _table(
        [*_NAMES, "golden check, dB", "needed", "hops counted", "first / median", "largest / median", "repeats apart"],
        [
            [
                *_case(r),
                f"{r['golden_snr_db']:.0f}",
                f"{r['golden_min_snr_db']:.0f}",
                str(r["hops"]),
                f"{r['first']:.2f}",
                f"{r['largest']:.3f}",
                f"{_spread(r):.2%}" if len(r["repeats"]) > 1 else "",
            ]
            for r in results
        ],
        len(_NAMES),
    )
    cores = content["named_cores"]
    by_case: dict[tuple[str, ...], dict[str, float]] = {}
    for r in results:
        by_case.setdefault(tuple(_case(r)[:-1]), {}).update(r["least_ms_per_second"])
    titles = [f"{c['name']} ({c['device']}), {c['clock_hz'] / 1e9:g} GHz, {c['fma_per_cycle']} a cycle" for c in cores]
    bounds = _table(
        [*_NAMES[:-1], *titles],
        [
            [*case, *(f"{found[c['name']]:.1f}" if c["name"] in found else "" for c in cores)]
            for case, found in by_case.items()
        ],
        len(_NAMES) - 1,
    )
    tools = {f"{name} {version}" for r in results for name, version in r["tools"].items()}
    return "\n\n".join(
        [
            "**Millions of instructions for one second of audio**, by class; weights: read for one second of audio.",
            counts,
            "**Golden check on the emulated core**, and how steady the counts are.",
            checks,
            "**Lower bound, ms for one second of audio on one core**: the vector multiply-accumulates alone, at the "
            "core's peak rate of 128-bit operations. No estimate of the time.",
            bounds,
            f"Counted with {', '.join(sorted(tools))}, one thread.",
        ]
    )


def _case(r: dict[str, Any]) -> list[str]:
    return [r["name"], r["precision"], f"{r['prune_ratio']:g}", r["backend"], r["core"]]


def _millions(count: float) -> str:
    millions = count / 1e6
    return "0" if count == 0 else f"{millions:,.0f}" if millions >= 100 else f"{millions:.3g}"


def _weights(r: dict[str, Any]) -> str:
    return f"{r['weight_bytes_per_second'] / 1e6:.3g}"


def _spread(r: dict[str, Any]) -> float:
    return max(r["repeats"]) / min(r["repeats"]) - 1


def _table(header: list[str], rows: list[list[str]], left: int) -> str:
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def _main(report: Path, document: Path) -> int:
    import json

    from edge.atomic import atomic_path
    from edge.errors import InputError

    whole = document.read_text()
    if BEGIN not in whole or END not in whole:
        raise InputError(f"{document}: the marks {BEGIN} and {END} are missing")
    tables = markdown(json.loads(report.read_text()))
    with atomic_path(document) as temporary:
        temporary.write_text(f"{whole.split(BEGIN)[0]}{BEGIN}\n{tables}\n{END}{whole.split(END)[1]}")
    return 0


if __name__ == "__main__":
    from edge.console import run_command

    sys.exit(run_command("edge.benchmarks.arm.report", lambda: _main(*map(Path, sys.argv[1:]))))
