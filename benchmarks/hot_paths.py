"""Times what every block of audio goes through apart from the networks (tests/benchmarks/test_hot_paths.py), against
the stored results: python -m edge.benchmarks.hot_paths [--save]

Runs in a checkout. Times of different machines differ, so nothing fails: read the ratios, and save on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import edge.benchmarks
from edge.benchmarks.documents import read_json, write_json
from edge.benchmarks.machine import machine_line
from edge.benchmarks.report import Watch
from edge.benchmarks.tables import columns, number
from edge.console import run_command
from edge.errors import EdgeError, InputError

NAME = "python -m edge.benchmarks.hot_paths"
ROOT = Path(edge.benchmarks.__file__).parent.parent
SUITE, STORED = ROOT / "tests" / "benchmarks" / "test_hot_paths.py", ROOT / "docs" / "results" / "hot_paths.json"


def measure() -> dict[str, Any]:
    """Run the suite; `{"tool", "machine", "results": [{name, what, median_seconds, iqr_seconds, rounds}]}`."""
    if not SUITE.is_file():
        raise InputError(f"{NAME} runs in a checkout: {SUITE} is missing")
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "benchmarks.json"
        command = [sys.executable, "-m", "pytest", str(SUITE), "--benchmark-only", f"--benchmark-json={file}"]
        done = subprocess.run([*command, "-p", "no:cacheprovider"], capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise EdgeError(f"{' '.join(command[1:4])} failed: {done.stdout.strip().splitlines()[-1]}")
        found = json.loads(file.read_text())["benchmarks"]
    results = [
        {
            "name": entry["name"].removeprefix("test_").replace("_", " "),
            "median_seconds": entry["stats"]["median"],
            "iqr_seconds": entry["stats"]["iqr"],
            "rounds": entry["stats"]["rounds"],
        }
        for entry in found
    ]
    tool = {"name": NAME, "command": f"{NAME} --save", "started": watch.started}
    return {"tool": tool, "machine": watch.machine(), "results": results}


def rows(found: dict[str, Any], stored: dict[str, Any] | None = None) -> list[list[str]]:
    """Header and cells; with `stored` also its medians and the ratio to them."""
    before = {entry["name"]: entry["median_seconds"] for entry in (stored or {"results": []})["results"]}
    table = [["hot path", "median us", "IQR us", "rounds", "stored us", "ratio"]]
    for entry in found["results"]:
        old, new = before.get(entry["name"]), entry["median_seconds"]
        cells = [number(new, 1e6, 2), number(entry["iqr_seconds"], 1e6, 2), str(entry["rounds"])]
        table.append([entry["name"], *cells, number(old, 1e6, 2), f"{new / old:.2f}" if old else ""])
    return table


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(NAME, description=__doc__)
    parser.add_argument("--save", action="store_true", help="store the results: docs/results/hot_paths.json")
    args = parser.parse_args(argv)

    def body() -> None:
        stored = read_json(STORED) if STORED.exists() else None
        found = measure()
        table = rows(found, stored)
        print(columns(table, left=(0,)))
        ratios = [float(row[5]) for row in table[1:] if row[5]]
        if ratios:
            print(f"\nmedian ratio to the stored results {statistics.median(ratios):.2f}")
        print(f"Measured on {machine_line(found['machine'])}.")
        if stored:
            print(f"Stored on {machine_line(stored['machine'])}.")
        if args.save:
            write_json(found, STORED)

    return run_command(NAME, body)


if __name__ == "__main__":
    sys.exit(main())
