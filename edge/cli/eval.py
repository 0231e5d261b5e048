"""edge-eval: quality of the enhancer or the separator beside other systems, on files that nothing was trained on."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from edge.backends import BACKENDS
from edge.console import enter_workbench, make_parser, positive_int, progress_bar, run_command, whole_number
from edge.errors import EdgeError, InputError

NAME = "edge-eval"
MODELS = ("enhancer", "htdemucs-mini")
EXAMPLES = """\
  edge-eval enhancer --data data -o out/eval              the shipped weights beside every installed peer, audio page
  edge-eval enhancer --bundle bundles/enhancer --files 12 --conditions noise,reverb
  edge-eval enhancer --checkpoint run/enhancer.safetensors --peers gtcrn,dtln --json > report.json
  edge-eval enhancer --clean speech/ --noise noises/      your own recordings, mixed at -5 to 20 dB
  edge-eval enhancer --clean voices/* --noise noises/     several folders: tables by kind of voice
  edge-eval enhancer --conditions long --files 4          the same minute, behind up to an hour of the same stream
  edge-eval enhancer --noisy noisy/ --clean clean/        your own pairs, files of the same names
  edge-eval htdemucs-mini --data data --files 20 -o out/songs

Peers are installed by: python -m edge.benchmarks.peers install
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(NAME, "Measure a model beside the unprocessed input and other systems, in one run.", EXAMPLES)
    parser.add_argument("model", choices=MODELS)
    ours = parser.add_mutually_exclusive_group()
    ours.add_argument("--checkpoint", type=Path, metavar="FILE", help="safetensors (default: the shipped weights)")
    ours.add_argument("--bundle", type=Path, help="an exported bundle, through the runtime")
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="of the bundle")
    parser.add_argument("--peers", default="all", help="names with commas, all that are installed, or none")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder of edge-train (default: data)")
    parser.add_argument(
        "--clean",
        type=Path,
        metavar="DIR",
        nargs="+",
        default=[],
        help="enhancer: clean speech, a folder a kind",
    )
    parser.add_argument("--noise", type=Path, metavar="DIR", help="with --clean: your own noises")
    parser.add_argument("--noisy", type=Path, metavar="DIR", help="with --clean: noisy recordings of the same names")
    parser.add_argument(
        "--conditions", help="enhancer: with commas (default: all but long; reverb needs pyroomacoustics)"
    )
    parser.add_argument("--files", type=positive_int, help="a condition (default: 60), or songs (default: 20)")
    parser.add_argument("--seed", type=whole_number, default=7, help="of the test set (default: 7)")
    parser.add_argument("--jobs", type=positive_int, default=min(2, os.cpu_count() or 1), help="metric processes")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="audio page, test set, report; resumes there")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    args = parser.parse_args(argv)
    command = shlex.join([NAME, *(sys.argv[1:] if argv is None else argv)])
    return run_command(NAME, lambda: _run(args, command))


def _run(args: argparse.Namespace, command: str) -> int:
    if args.model != "enhancer" and (args.clean or args.noise or args.noisy or args.conditions):
        raise InputError("--clean, --noise, --noisy and --conditions are for the enhancer")
    if (args.noise is None) == (args.noisy is None) and args.clean:
        raise InputError("--clean needs either --noise DIR or --noisy DIR (recordings with the same names)")
    if not args.clean and (args.noise or args.noisy):
        raise InputError("--noise and --noisy need --clean DIR")
    if args.noisy and len(args.clean) > 1:
        raise InputError("--noisy goes with one folder of --clean: its files have the same names")
    enter_workbench(NAME)
    from edge.benchmarks.quality import report
    from edge.benchmarks.quality.run import Options, evaluate

    if args.output is not None:
        if args.output.is_file():
            raise InputError(f"{args.output} is a file; name a folder for the output")
        args.output.mkdir(parents=True, exist_ok=True)
    options = Options(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Options)})
    with progress_bar(unit="clip") as bar:

        def progress(label: str) -> None:
            bar.set_description(label)
            bar.update()

        def total(count: int) -> None:
            bar.total = count
            bar.refresh()

        content: dict[str, Any] = evaluate(options, command, progress, total)
    if args.json:
        print(json.dumps(content, indent=1))
    else:
        print(report.text(content))
        if args.output is not None:
            print(f"\nAudio page: {args.output / 'index.html'}")
    return EdgeError.exit_code if content["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
