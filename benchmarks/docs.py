"""Writes docs/benchmarks.md from the reports in docs/results/: python -m edge.benchmarks.docs

Never edited by hand: a test compares the page with what this makes of the reports. Those of the peers and of the ARM64
budget are told by their own packages.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import edge.benchmarks
from edge.benchmarks import hot_paths, htdemucs
from edge.benchmarks.documents import read_json, write_text
from edge.benchmarks.machine import machine_line
from edge.benchmarks.report import labels
from edge.benchmarks.report_text import CASE, COSTS, TIMES, figures, notes
from edge.benchmarks.tables import markdown, number
from edge.console import run_command

ROOT = Path(edge.benchmarks.__file__).parent.parent
RESULTS, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "benchmarks.md"

HEAD = """\
# Benchmarks

Made by `make docs-benchmarks` from the reports in `docs/results/`; each section names the command that measured it
and the machine. Measured on a virtual machine with neighbours: trust ratios, which come from interleaved rounds, more
than times. The full-size networks' times and memory are of their graphs before they were tiled
([memory.md](memory.md)); those of `htdemucs-mini` are of its graphs before the latest changes there.
"""


def page(results: Path = RESULTS) -> str:
    """The Markdown of all reports that are there; InputError where one is no JSON."""
    parts = [HEAD]
    for file, title, section in SECTIONS:
        path = results / file
        if path.exists():
            parts.append(f"## {title}\n\n{section(read_json(path)).strip()}\n")
    return "\n".join(parts)


def bundles(content: dict[str, Any]) -> str:
    """The shipped models through edge-bench."""
    results = content["results"]
    speed = figures(results, *CASE, "RTF", "ratio", "95 %", *TIMES, "missed")
    cost = figures(results, *CASE, *COSTS, "host % of work")
    text = [markdown(speed, 2), markdown(cost, 2)]
    profiles = [(name, r) for name, r in zip(labels(results), results, strict=True) if r.get("profile")]
    if profiles:
        kinds = list(dict.fromkeys(e["kind"] for _, r in profiles for e in r["profile"]["entries"]))
        shares = [["share of the time, %", "threads", *kinds]]
        for name, r in profiles:
            found = {e["kind"]: e["share"] for e in r["profile"]["entries"]}
            shares.append([name, str(r["threads"]), *(number(found.get(kind), 100, 0) for kind in kinds)])
        text += ["By layer type, from ONNX Runtime's profiler:", markdown(shares, 1)]
    return "\n\n".join([*text, lines([*notes(content)[:-1], *measured(content)])])


def full_size(content: dict[str, Any]) -> str:
    """HT Demucs against the demucs package."""
    seconds = content["results"][0]["latency_seconds"]
    threads = content["settings"]["threads"][0]
    intro = (
        f"One segment of {seconds:g} s, {threads} threads for everything, random weights, all in one interleaved run. "
        "`x of floor`: time over the least that this machine's measured peak allows for the multiplications of the "
        "learned layers and the attention."
    )
    remains = ["What the time above the floor goes to, as far as a profiler tells:", ""]
    remains += [f"- {line}" for line in htdemucs.above_floor(content)]
    return "\n\n".join([intro, markdown(htdemucs.rows(content), 2), "\n".join(remains), lines(measured(content))])


def paths(content: dict[str, Any]) -> str:
    """The pipeline's own hot paths."""
    intro = "What every block of audio goes through apart from the networks; `make bench` compares with these."
    rows = [[row[i] for i in range(4)] for row in hot_paths.rows(content)]
    return "\n\n".join([intro, markdown(rows, 1), lines(measured(content))])


def _other(package: str, intro: str) -> Callable[[dict[str, Any]], str]:
    def section(content: dict[str, Any]) -> str:
        report = importlib.import_module(f"edge.benchmarks.{package}.report")
        return f"{intro}\n\n{report.markdown(content)}"

    return section


_PEERS = "Other systems in the same run, each in a process of its own, by `python -m edge.benchmarks.peers run`."
_ARM = "Counted on an emulated core by `python -m edge.benchmarks.arm`; what the figures mean is in [arm.md](arm.md)."
_ARM_FULL = """\
Pruned by half, random weights, segments of 1 s. Counted by

```sh
python -m edge.benchmarks.htdemucs --export --target arm64 --segment 1 --folder build/htdemucs-arm64
python -m edge.benchmarks.arm build/htdemucs-arm64/htdemucs-p50-{fp32,auto-arm64} --cpu cortex-a76 i8mm \\
    --arm build/arm/arm-python --json docs/results/arm_htdemucs.json
```"""


SECTIONS: list[tuple[str, str, Callable[[dict[str, Any]], str]]] = [
    ("bench.json", "The shipped models", bundles),
    ("htdemucs.json", "HT Demucs in full size", full_size),
    ("peers.json", "Beside other systems", _other("peers", _PEERS)),
    ("arm.json", "Instructions on ARM64", _other("arm", _ARM)),
    ("arm_htdemucs.json", "Instructions of HT Demucs in full size", _other("arm", _ARM_FULL)),
    ("hot_paths.json", "The pipeline's own hot paths", paths),
]


def measured(content: dict[str, Any]) -> list[str]:
    """The command and the machine."""
    return [f"Measured by `{content['tool']['command']}`", f"on {machine_line(content['machine'])}."]


def lines(texts: Sequence[str]) -> str:
    """Lines of one paragraph."""
    return "  \n".join(texts)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    argparse.ArgumentParser("python -m edge.benchmarks.docs", description=__doc__).parse_args(argv)
    return run_command("docs", lambda: write_text(PAGE, page()))


if __name__ == "__main__":
    sys.exit(main())
