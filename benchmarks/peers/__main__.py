"""python -m edge.benchmarks.peers: install other people's systems, and measure them beside our bundles."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge.benchmarks.documents import write_json
from edge.benchmarks.peers import catalogue, install, measure, report
from edge.console import make_parser, positive_float, positive_int, progress_bar, run_command
from edge.errors import EdgeError, InputError

NAME = "python -m edge.benchmarks.peers"
EXAMPLES = """\
  python -m edge.benchmarks.peers install                       all of them, each into build/peers/NAME
  python -m edge.benchmarks.peers install gtcrn,dtln
  python -m edge.benchmarks.peers run bundles/* --json docs/results/peers.json
  python -m edge.benchmarks.peers list
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(NAME, "Other enhancers and separators: install, list, and measure them.", EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("install", help="make an environment for each peer under build/peers")
    add.add_argument("peers", nargs="?", default="all", help="names with commas (default: all)")
    commands.add_parser("list", help="what is known, and what is installed")
    run = commands.add_parser("run", help="measure speed, memory, latency, size and quality in one run")
    run.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE", help="ours, to compare with")
    run.add_argument("--peers", default="all", help="names with commas, all or none (default: all)")
    run.add_argument("--threads", type=positive_int, default=1, help="default: 1")
    run.add_argument("--rounds", type=positive_int, default=measure.ROUNDS, help=f"default: {measure.ROUNDS}")
    run.add_argument("--seconds", type=positive_float, default=2.0, help="audio a round for enhancers (default: 2)")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    args = parser.parse_args(argv)
    return run_command("peers", lambda: {"install": _install, "list": _list, "run": _run}[args.command](args))


def _install(args: argparse.Namespace) -> int:
    wanted = catalogue.select(args.peers)
    failed = install.install(wanted, progress=lambda name: print(f"installing {name}", file=sys.stderr, flush=True))
    for peer, reason in failed:
        print(f"{peer.name}: {reason}", file=sys.stderr)
    print(f"{len(wanted) - len(failed)} of {len(wanted)} peers are installed in {install.FOLDER}")
    return EdgeError.exit_code if failed else 0


def _list(args: argparse.Namespace) -> None:
    for peer in catalogue.PEERS:
        try:
            install.python_of(peer)
            state = "installed"
        except InputError:
            state = "-"
        weights = "" if peer.weights else "no weights: speed only"
        line = f"{peer.name:15} {peer.task:9} {state:10} {peer.license:18} {peer.package:24} {weights}"
        print(line.rstrip())


def _run(args: argparse.Namespace) -> None:
    peers = catalogue.select(args.peers)
    if not peers and not args.bundles:
        raise InputError("nothing to measure: name bundles or peers")
    with progress_bar(total=(len(peers) + len(args.bundles)) * (args.rounds + 2)) as bar:

        def step(label: str) -> None:
            bar.set_description(label)
            bar.update()

        content = measure.measure(peers, args.bundles, args.threads, args.rounds, args.seconds, step)
    if args.json:
        write_json(content, args.json)
    print(report.markdown(content))


if __name__ == "__main__":
    sys.exit(main())
