"""edge-compress: what compression costs in quality and gains in speed, measured."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge.backends import BACKENDS
from edge.cli.networks import add_checkpoint_options, load
from edge.compression.processors import PROCESSORS
from edge.console import enter_workbench, make_parser, positive_float, positive_int, run_command, whole_number
from edge.errors import InputError

if TYPE_CHECKING:
    from edge.export.pipeline import ExportOptions

NAME = "edge-compress"
EXAMPLES = """\
  edge-compress report enhancer --ratios 0,0.5 -o report          table, JSON and Pareto picture in report/
  edge-compress report enhancer htdemucs-mini --data data --arm build/arm/arm-python -o report
  edge-compress report htdemucs-mini --audio song.mp3             what it makes of your own music
  edge-compress sensitivity htdemucs-mini --prune 0.5             which layers int8 costs most
  edge-compress search htdemucs-mini --target-mb 1                the smallest prune ratio that is small enough
  edge-compress baseline enhancer --prune 0.5 --data data --minutes 20 -o runs/baseline
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(NAME, "Measure what pruning, int8 and the two runtimes make of a model.", EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_report(commands)
    _add_sensitivity(commands)
    _add_search(commands)
    _add_baseline(commands)
    args = parser.parse_args(argv)
    bodies = {"report": _report, "sensitivity": _sensitivity, "search": _search, "baseline": _baseline}

    def body() -> None:
        enter_workbench(NAME)
        import torch

        torch.set_num_threads(args.threads)
        bodies[args.command](args)

    return run_command(NAME, body)


def _add_report(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("report", help="sweep ratio x precision x backend into a table and a Pareto picture")
    p.add_argument("models", nargs="+", metavar="MODEL", help="enhancer, htdemucs-mini, htdemucs, ...")
    _add_common(p)
    p.add_argument("--ratios", type=_numbers, default=[0.0, 0.3, 0.5, 0.7], metavar="R,...", help="0,0.3,0.5,0.7")
    p.add_argument("--precisions", type=_words, default=["fp32", "auto"], metavar="P,...", help="default: fp32,auto")
    p.add_argument("--backends", type=_words, default=list(BACKENDS), metavar="B,...", help=",".join(BACKENDS))
    p.add_argument("--target", type=_words, default=["arm64"], metavar="T,...", help="of int8: arm64 (default), x86")
    p.add_argument("--data", type=Path, metavar="DIR", help="judge on the test split too (see edge-train data)")
    p.add_argument("--audio", type=Path, metavar="FILE", help="compare with the unpruned network on this recording")
    files = p.add_mutually_exclusive_group()
    files.add_argument("--songs", dest="files", type=positive_int, default=10, metavar="N", help="of it (default: 10)")
    files.add_argument("--clips", dest="files", type=positive_int, metavar="N", help="the same, for speech")
    p.add_argument("--arm", type=Path, metavar="ARM_PYTHON", help="count instructions on this emulated Python")
    p.add_argument("--cpu", type=_words, default=["cortex-a76", "i8mm"], metavar="C,...", help="cortex-a76,i8mm")
    p.add_argument("--seconds", type=positive_float, default=3.0, help="measuring time of each graph (default: 3)")
    p.add_argument("--no-timing", action="store_true", help="all but the times; a second run takes only those")
    p.add_argument(
        "--baseline", type=Path, action="append", default=[], metavar="FILE", help="of edge-compress baseline"
    )
    p.add_argument("-o", "--output", type=Path, default=Path("compression"), metavar="DIR", help="default: compression")


def _add_sensitivity(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("sensitivity", help="each group of layers alone in int8: SNR and quality that it costs")
    p.add_argument("model", metavar="MODEL")
    _add_common(p)
    p.add_argument("--prune", type=float, default=0.0, metavar="RATIO", help="of the network that is scanned")
    p.add_argument("--backend", choices=tuple(BACKENDS), default="onnx", help="default: onnx")
    p.add_argument("--target", choices=tuple(PROCESSORS), default="arm64", help="that int8 is chosen for")
    p.add_argument("-o", "--output", type=Path, default=Path("compression"), metavar="DIR", help="default: compression")


def _add_search(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("search", help="the smallest prune ratio that meets a target of size or speed")
    p.add_argument("model", metavar="MODEL")
    _add_common(p)
    p.add_argument("--target-mb", type=positive_float, metavar="MB", help="size of every graph file, 1 MB = 1e6 bytes")
    p.add_argument("--target-rtf", type=positive_float, metavar="RTF", help="of every graph, on this machine")
    p.add_argument("--precision", default="auto", metavar="P", help="as of edge-export (default: auto)")
    p.add_argument("--target", choices=tuple(PROCESSORS), default="arm64", help="that int8 is chosen for")
    p.add_argument("--backends", type=_words, default=["onnx"], metavar="B,...", help="default: onnx")
    p.add_argument("-o", "--output", type=Path, metavar="DIR", help="keep the exports there; a stopped search goes on")


def _add_baseline(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("baseline", help="pruned and recovered, against as large and trained from scratch")
    p.add_argument("model", metavar="MODEL", help="enhancer or htdemucs-mini")
    _add_common(p, segment=False)
    p.add_argument("--prune", type=float, default=0.5, metavar="RATIO", help="default: 0.5")
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help="training data (see edge-train data)")
    p.add_argument("--minutes", type=positive_float, required=True, help="training time of each of the two")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the two runs and baseline.json")
    p.add_argument("--resume", action="store_true", help="go on with the runs in DIR")


def _add_common(p: argparse.ArgumentParser, segment: bool = True) -> None:
    add_checkpoint_options(p)
    if segment:
        p.add_argument("--segment", type=positive_float, metavar="SECONDS", help="separators: audio in one run")
    p.add_argument("--threads", type=positive_int, default=1, metavar="N", help="default: 1")
    p.add_argument("--seed", type=whole_number, default=0)
    p.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def _report(args: argparse.Namespace) -> None:
    from edge.benchmarks.compression.report import ReportOptions, run
    from edge.benchmarks.compression.tables import text

    names = list(dict.fromkeys(args.models))
    if args.checkpoint and len(names) != 1:
        raise InputError("--checkpoint belongs to one MODEL: name it")
    options = ReportOptions(
        base=_options(args, args.backends),
        cpus=args.target,
        ratios=args.ratios,
        precisions=args.precisions,
        data=args.data,
        files=args.files,
        audio=args.audio,
        arm=args.arm,
        cores=args.cpu,
        threads=args.threads,
        seconds=0.0 if args.no_timing else args.seconds,
        baselines=args.baseline,
    )
    content = run([load(args, name) for name in names], options, args.output, _progress())
    _print(args, content, text)
    if not args.json:
        print("\n".join(str(args.output / name) for name in ("report.json", "report.md", "pareto.svg")))


def _sensitivity(args: argparse.Namespace) -> None:
    import dataclasses

    from edge.benchmarks.compression import sensitivity
    from edge.benchmarks.documents import write_json

    model = load(args, args.model)
    options = dataclasses.replace(_options(args, ["onnx"]), prune=args.prune, cpu=args.target)
    report = sensitivity.scan(model, options, args.backend, args.output / "bundles", _progress())
    target = args.output / f"sensitivity-{model.name}-{args.backend}.json"
    write_json(report, target)
    _print(args, report, sensitivity.text)
    if not args.json:
        print(target)


def _search(args: argparse.Namespace) -> None:
    import dataclasses

    from edge.benchmarks.compression.search import describe, find_ratio

    model = load(args, args.model)
    options = dataclasses.replace(_options(args, args.backends), precision=args.precision, cpu=args.target)
    targets = {"target_mb": args.target_mb, "target_rtf": args.target_rtf}
    found = find_ratio(model, options, **targets, threads=args.threads, folder=args.output, progress=_progress())
    lines = [*map(describe, found.trials), f"--prune {found.ratio:g}"]
    _print(args, dataclasses.asdict(found), lambda _: "\n".join(lines))


def _baseline(args: argparse.Namespace) -> None:
    from edge.benchmarks.compression.baseline import compare
    from edge.benchmarks.compression.tables import baseline_text

    if len(args.checkpoint) > 1:
        raise InputError("a baseline takes one --checkpoint")
    with contextlib.redirect_stdout(sys.stderr):  # where the training tells of its validations
        content = compare(
            args.model,
            args.prune,
            args.data,
            args.minutes,
            args.output,
            checkpoint=args.checkpoint[0] if args.checkpoint else None,
            seed=args.seed,
            resume=args.resume,
            progress=_progress(),
        )
    _print(args, content, baseline_text)


def _options(args: argparse.Namespace, backends: list[str]) -> ExportOptions:
    from edge.export.pipeline import ExportOptions

    return ExportOptions(formats=tuple(dict.fromkeys(backends)), segment=args.segment, seed=args.seed)


def _print(args: argparse.Namespace, content: dict, text: Callable[[dict], str]) -> None:
    print(json.dumps(content, indent=2) if args.json else text(content))


def _progress() -> Callable[[str], None]:
    """A line a step on stderr, on a terminal only."""
    if sys.stderr.isatty():
        return lambda step: print(step, file=sys.stderr, flush=True)
    return lambda _step: None


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[float]:
    return [float(part) for part in _words(text)]


if __name__ == "__main__":
    sys.exit(main())
