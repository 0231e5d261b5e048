"""edge-bench: speed, latency and memory of bundles on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.cli.common import fail, make_parser, positive_float, positive_int, progress_bar, run_command

if TYPE_CHECKING:
    from edge.benchmarks.runner import Case, Result

NAME = "edge-bench"
EXAMPLES = """\
  edge-bench bundles/enhancer                               every backend that the bundle has
  edge-bench bundles/* --backend onnx --threads 2
  edge-bench before after --seconds 30 --json > report.json
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        NAME,
        "Check each bundle against its golden output, then measure it in interleaved rounds: real-time factor "
        "(time of a hop / its audio), latency per hop, load time, first inference, peak memory, size.",
        EXAMPLES,
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="a folder or NAME.edge")
    parser.add_argument(
        "--backend", choices=("onnx", "executorch"), help="default: every one that the bundle and this machine have"
    )
    parser.add_argument("--threads", type=positive_int, default=1, help="default: 1")
    parser.add_argument(
        "--seconds", type=positive_float, default=5.0, help="measuring time per bundle and backend (default: 5)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    args = parser.parse_args(argv)
    return run_command(NAME, lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from edge.benchmarks.machine import fingerprint
    from edge.benchmarks.runner import ROUNDS, measure

    machine = fingerprint()
    cases, failures = _cases(args.bundles, args.backend)
    with progress_bar(total=len(cases) * (ROUNDS + 1)) as bar:

        def step(label: str) -> None:
            bar.set_description(label)
            bar.update()

        report = measure(cases, args.threads, args.seconds, step)
    for case, message, code in report.failures:
        place = "" if str(case.bundle) in message else f"{case.bundle} ({case.backend}): "
        failures.append((case.bundle, place + message, fail(NAME, place + message, code)))
    if args.json:
        content = {
            "machine": machine,
            "threads": args.threads,
            "results": [dataclasses.asdict(result) for result in report.results],
            "failures": [{"bundle": str(path), "error": message} for path, message, _ in failures],
        }
        print(json.dumps(content, indent=2))
    elif report.results:
        print(_table(report.results))
        print(_machine_line(machine, args.threads))
    return max((code for _, _, code in failures), default=0)


def _cases(bundles: list[Path], backend: str | None) -> tuple[list[Case], list[tuple[Path, str, int]]]:
    """What to measure, and (bundle, message, exit code) of what cannot be, each told at once."""
    from edge.benchmarks.runner import Case
    from edge.bundle import open_bundle
    from edge.errors import EdgeError, InputError
    from edge.runtime.graphs import NO_EXECUTORCH, executorch_package

    cases: list[Case] = []
    failures: list[tuple[Path, str, int]] = []
    for path in bundles:
        try:
            bundle = open_bundle(path)
            wanted = [backend] if backend else list(bundle.manifest.graphs)
            for format in wanted:
                bundle.graph_path(format)
                if format == "executorch" and executorch_package() is None:
                    if backend or len(wanted) == 1:
                        raise InputError(NO_EXECUTORCH)
                    print(f"note: {path}: executorch is skipped: {NO_EXECUTORCH}", file=sys.stderr)
                else:
                    cases.append(Case(path, format))
        except EdgeError as error:
            failures.append((path, str(error), fail(NAME, error, error.exit_code)))
    return cases, failures


def _table(results: list[Result]) -> str:
    """A text table, one row a case."""
    header = ["bundle", "backend", "precision", "MB", "load ms", "first ms", "RTF", "(rounds)", "hops"]
    header += ["p50 ms", "p95 ms", "p99 ms", "max ms", "hop ms", "peak MB", "golden dB"]
    rows = [header]
    for r in results:
        rows.append(
            [
                r.name,
                r.backend,
                r.precision,
                f"{r.graph_bytes / 1e6:.2f}",
                f"{1e3 * r.load_seconds:.0f}",
                f"{1e3 * r.first_seconds:.2f}",
                f"{r.rtf:.4f}",
                f"{min(r.rtf_rounds):.4f}-{max(r.rtf_rounds):.4f}",
                str(r.hops),
                *(f"{1e3 * r.percentiles[key]:.2f}" for key in ("p50", "p95", "p99", "max")),
                f"{1e3 * r.hop_seconds:.1f}",
                f"{r.peak_bytes / 1e6:.0f}",
                f"{r.golden_snr_db:.0f}",
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _machine_line(machine: dict[str, Any], threads: int) -> str:
    parts = [machine["processor"], f"{machine['processors']} processors", f"{threads} thread(s)"]
    if machine["memory_bytes"]:
        parts.append(f"{machine['memory_bytes'] / 2**30:.0f} GiB")
    if machine["features"]:
        parts.append("+".join(machine["features"]))
    if machine["governor"]:
        parts.append(f"governor {machine['governor']}")
    if machine["load_average"] is not None:
        parts.append(f"load {machine['load_average']}")
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return ", ".join([*parts, machine["system"], f"Python {machine['python']}", versions])


if __name__ == "__main__":
    sys.exit(main())
