"""edge-bench: speed, latency and memory of bundles on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.backends import BACKENDS
from edge.console import fail, make_parser, positive_float, positive_int, progress_bar, run_command, whole_number

if TYPE_CHECKING:
    from edge.benchmarks.rounds import Failure
    from edge.benchmarks.runner import Case, Report

NAME = "edge-bench"
EXAMPLES = """\
  edge-bench bundles/enhancer                               every backend that the bundle has
  edge-bench bundles/* --backend onnx --threads 1,2 --html report.html
  edge-bench before after --baseline before --seconds 30 --json report.json
  edge-bench bundles/enhancer --profile                     where time and memory go, by layer type
  edge-bench compare phone.json board.json                  devices side by side
"""
COMPARE_EXAMPLES = """\
  edge-bench compare laptop.json board.json phone.json
  edge-bench compare before.json after.json --html compare.html
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["compare"]:
        return _compare(argv[1:])
    parser = make_parser(
        NAME,
        "Check each bundle against its golden output, then measure all in interleaved rounds: real-time factor "
        "(time of a run / the audio that it advances by), latency per hop and missed deadlines, load time, first "
        "inference, peak memory, size, and the distance from what this machine could do at best. `edge-bench compare` "
        "sets reports of several devices side by side.",
        EXAMPLES,
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="a folder or NAME.edge")
    parser.add_argument(
        "--backend", choices=tuple(BACKENDS), help="default: every one that the bundle and this machine have"
    )
    parser.add_argument("--threads", type=_threads, default=[1], metavar="N[,N]", help="thread counts; default: 1")
    parser.add_argument("--seconds", type=positive_float, default=5.0, help="measuring time of each case (default: 5)")
    parser.add_argument(
        "--baseline",
        metavar="BUNDLE[:BACKEND[:THREADS]]",
        help="what the ratios are relative to; what is left out is as in the row (default: the first bundle)",
    )
    parser.add_argument("--no-floor", action="store_true", help="do not measure the machine's peak")
    parser.add_argument("--profile", action="store_true", help="also say where time and memory go, by layer type")
    parser.add_argument(
        "--launches",
        type=positive_int,
        default=3,
        help="how often each process is started anew, since one can be lucky with its place in memory (default: 3)",
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="of the random order in the rounds")
    _add_outputs(parser)
    args = parser.parse_args(argv)
    return run_command(NAME, lambda: _run(args, argv))


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="the report as JSON: to FILE, or instead of the table"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="the report as one self-contained page with plots")


def _threads(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(positive_int(part) for part in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError("must be numbers like 1,2") from error


def _run(args: argparse.Namespace, argv: list[str]) -> int:
    from edge.benchmarks import report as reports
    from edge.benchmarks import report_text
    from edge.benchmarks.runner import measure

    cases, failures = _cases(args.bundles, args.backend, args.threads)
    watch = reports.Watch()
    with progress_bar(total=100, bar_format="{desc} {percentage:3.0f} %|{bar}| {remaining} left") as bar:

        def step(share: float, label: str) -> None:
            bar.set_description(label)
            bar.update(100 * share - bar.n)

        report = measure(
            cases, args.seconds, step, with_floor=not args.no_floor, launches=args.launches, seed=args.seed
        )
    for failure in report.failures:
        fail(NAME, failure.error, failure.exit_code)
    report.failures[:0] = failures
    baseline = args.baseline or str(args.bundles[0])
    try:
        reports.compare_to(report.results, baseline)
    except reports.InputError:
        if args.baseline and report.results:
            raise
        baseline = None  # the first bundle failed
    if args.profile:
        _profile(report, args.seconds)
    content = reports.content(
        watch,
        report,
        NAME,
        [NAME, *argv],
        seconds=args.seconds,
        threads=args.threads,
        seed=args.seed,
        baseline=baseline,
    )
    _output(args, content, report_text.text if report.results else None)
    return max((failure.exit_code for failure in report.failures), default=0)


def _output(args: argparse.Namespace, content: Any, text: Any, page: Any = None) -> None:
    from edge.benchmarks.documents import write_json
    from edge.benchmarks.page import write_page

    if args.html:
        (page or write_page)(content, args.html)
    if args.json:
        write_json(content, None if args.json == "-" else Path(args.json))
    if args.json != "-" and text is not None:
        print(text(content))


def _cases(bundles: list[Path], backend: str | None, threads: list[int]) -> tuple[list[Case], list[Failure]]:
    """What to measure, and what cannot be, each told at once."""
    from edge.benchmarks.rounds import Failure
    from edge.benchmarks.runner import Case
    from edge.bundle import open_bundle
    from edge.errors import EdgeError, InputError

    cases: list[Case] = []
    failures: list[Failure] = []
    for path in dict.fromkeys(bundles):
        try:
            bundle = open_bundle(path)
            wanted = [backend] if backend else list(bundle.manifest.graphs)
            for format in wanted:
                bundle.graph_path(format)
                if reason := BACKENDS[format].missing():
                    if backend or len(wanted) == 1:
                        raise InputError(reason)
                    print(f"note: {path}: {format} is skipped: {reason}", file=sys.stderr)
                else:
                    cases += [Case(path, format, count) for count in threads]
        except EdgeError as error:
            fail(NAME, error, error.exit_code)
            failures.append(Failure(str(path), None, None, str(error), error.exit_code))
    return cases, failures


def _profile(report: Report, seconds: float) -> None:
    """Fill in the profiles, each from a process of its own; say of runtimes that give no times what can be said."""
    from edge.benchmarks.memory_profile import graph_memory
    from edge.benchmarks.profiling import profile_onnx
    from edge.benchmarks.rounds import run_alone
    from edge.bundle import open_bundle

    silent: dict[tuple[str, str], None] = {}
    for result in report.results:
        result.graph_memory = run_alone(graph_memory, result.bundle, result.backend, result.threads)
        if BACKENDS[result.backend].profiled:
            result.profile = run_alone(profile_onnx, result.bundle, result.threads, min(seconds, 5.0))
        else:
            silent[result.bundle, result.backend] = None
    for path, backend in silent:
        graph = open_bundle(Path(path)).manifest.graphs[backend]
        print(f"note: {path}: {backend}: {graph.delegation()}; no times by layer type", file=sys.stderr)


def _compare(argv: list[str]) -> int:
    parser = make_parser(
        f"{NAME} compare",
        "Set the reports of several devices, or several reports of one, side by side: the first is the baseline.",
        COMPARE_EXAMPLES,
    )
    parser.add_argument("reports", type=Path, nargs="+", metavar="REPORT.json", help="what edge-bench --json wrote")
    _add_outputs(parser)
    args = parser.parse_args(argv)

    def body() -> None:
        from edge.benchmarks import compare
        from edge.benchmarks.report import load

        content = compare.compare({str(path): load(path) for path in args.reports})
        _output(args, content, compare.text, compare.write_page)

    return run_command(f"{NAME} compare", body)


if __name__ == "__main__":
    sys.exit(main())
