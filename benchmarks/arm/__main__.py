"""python -m edge.benchmarks.arm: instructions that bundles take on emulated ARM64 cores."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge.backends import BACKENDS
from edge.benchmarks.arm.emulator import CORES, HOW_TO_MAKE, NO_HALF
from edge.console import fail, make_parser, positive_float, positive_int, progress_bar, run_command

NAME = "edge.benchmarks.arm"
EXAMPLES = f"""\
  python -m edge.benchmarks.arm bundles/enhancer --arm DEST/arm-python
  python -m edge.benchmarks.arm before after --cpu cortex-a76 --backend onnx --json arm.json --arm DEST/arm-python
  python -m edge.benchmarks.arm bundles/enhancer --check benchmarks/arm/baseline.json --arm DEST/arm-python
  python -m edge.benchmarks.arm bundles/enhancer --check benchmarks/arm/baseline.json --update --arm DEST/arm-python

no emulated Python yet? {HOW_TO_MAKE}
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        NAME,
        "Check each bundle against its golden output on emulated ARM64 cores, and count the instructions of a hop by "
        "class. Instructions are not time: they tell what a change of a graph costs, to 0.5 %.",
        EXAMPLES,
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="a folder or NAME.edge")
    parser.add_argument("--arm", type=Path, required=True, metavar="ARM_PYTHON", help="the emulated Python")
    parser.add_argument("--cpu", choices=("all", *CORES), nargs="+", default=["all"], help="default: all")
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="default: every one that the bundle has")
    parser.add_argument("--repeats", type=positive_int, default=1, help="processes that count each case (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--check", type=Path, metavar="BASELINE", help="fail where more is executed than there")
    parser.add_argument("--tolerance", type=positive_float, default=0.01, help="of --check, relative (default: 0.01)")
    parser.add_argument("--update", action="store_true", help="write the counts into the baseline of --check")
    args = parser.parse_args(argv)
    return run_command(NAME, lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from edge.benchmarks.arm.baseline import compare, load_baseline, save_baseline
    from edge.benchmarks.arm.budget import Budget, Case, measure
    from edge.benchmarks.arm.emulator import find_emulator
    from edge.benchmarks.arm.report import content, text
    from edge.benchmarks.documents import write_json
    from edge.bundle import open_bundle
    from edge.errors import EdgeError, InputError

    if args.update and not args.check:
        raise InputError("--update needs the baseline to write: --check BASELINE")
    emulator = find_emulator(args.arm)
    baseline = load_baseline(args.check) if args.check and not args.update else {}
    cores = CORES if "all" in args.cpu else tuple(dict.fromkeys(args.cpu))
    cases = []
    for bundle in map(open_bundle, args.bundles):
        for backend in [args.backend] if args.backend else bundle.manifest.graphs:
            bundle.graph_path(backend)
            able = [core for core in cores if core not in NO_HALF or not bundle.manifest.graphs[backend].half]
            for core in sorted({*cores} - {*able}):
                print(f"{NAME}: {bundle.path}: {backend} is in fp16, which {core} lacks: left out", file=sys.stderr)
            cases += [Case(bundle, backend, core) for core in able]
    if not cases:
        raise InputError("nothing is left to count")
    if len({case.key for case in cases}) < len(cases):
        raise InputError("two of the bundles are the same network at the same precision and ratio; give them apart")

    budgets: list[Budget] = []
    failures: list[str] = []
    codes = [0]
    with progress_bar(total=len(cases)) as bar:
        for case in cases:
            bar.set_description(case.key)
            try:
                budgets.append(measure(case, emulator, args.repeats))
            except EdgeError as error:
                failures.append(str(error))
                codes.append(fail(NAME, error, error.exit_code))
            bar.update()
    report = content(budgets, failures)
    if budgets:
        print(text(report))
    if args.json:
        write_json(report, args.json)
    if args.update:
        save_baseline(args.check, budgets)
    elif args.check:
        print()
        for budget in budgets:
            try:
                found = compare(budget, baseline, args.tolerance)
            except InputError as error:
                codes.append(fail(NAME, error, error.exit_code))
                continue
            print(f"{'MORE' if found.failed else 'ok':4}  {found.key}: {found.message}")
            if found.failed:
                how = "find the cause, or accept it with --update"
                codes.append(fail(NAME, f"{found.key}: more instructions than the baseline; {how}", 1))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
