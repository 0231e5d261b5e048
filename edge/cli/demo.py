"""edge-demo: both shipped models, before and after compression, on real recordings, in one table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from edge.console import enter_workbench, make_parser, positive_float, positive_int, progress_bar, run_command

EXAMPLES = """\
  edge-demo                       bundles, audio and demo.json in demo_out/, the table on stdout
  edge-demo --full --seconds 20   unpruned ExecuTorch graphs too, measured for longer
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        "edge-demo",
        "Export the shipped models unpruned in fp32 and pruned by half in the precision that pays, run both on real "
        "noisy speech and music, measure quality and speed, and print one table.",
        EXAMPLES,
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("demo_out"), metavar="DIR", help="default: demo_out")
    parser.add_argument("--full", action="store_true", help="unpruned ExecuTorch graphs too (some minutes more)")
    parser.add_argument("--threads", type=positive_int, default=1, help="of the graphs (default: 1)")
    parser.add_argument("--seconds", type=positive_float, default=5.0, help="measuring time per graph (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    args = parser.parse_args(argv)
    return run_command("edge-demo", lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    enter_workbench("edge-demo")
    from edge.benchmarks.demo import count_steps, run_demo
    from edge.benchmarks.readme import text

    started = time.monotonic()
    with progress_bar(total=count_steps(args.full)) as bar:

        def progress(step: str) -> None:
            if bar.disable:  # no terminal: a log
                print(f"[{time.monotonic() - started:4.0f} s] {step}", file=sys.stderr, flush=True)
            else:
                bar.set_description(step)
                bar.update()

        report = run_demo(args.output, args.full, args.threads, args.seconds, progress)
    if args.json:
        print(json.dumps(dataclasses.asdict(report), indent=2))
        return
    print(text(report))
    print(f"Bundles, audio and demo.json: {args.output}")


if __name__ == "__main__":
    sys.exit(main())
