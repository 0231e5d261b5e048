"""edge-export: compress a trained network and write it as a bundle."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from edge.backends import BACKENDS
from edge.cli.networks import add_checkpoint_options, load
from edge.compression.processors import PROCESSORS
from edge.console import enter_workbench, make_parser, positive_float, run_command, whole_number
from edge.errors import InputError

if TYPE_CHECKING:
    from edge.manifest import GraphRecord, Manifest
    from edge.training.recover import Recovery

TICK = 0.5  # seconds between two looks at the clock
EXAMPLES = """\
  edge-export --prune 0.5                                 both shipped models, ONNX and ExecuTorch
  edge-export enhancer --precision fp32 --format onnx -o out
  edge-export htdemucs --checkpoint 955717e8-8726e21a.th --prune 0.5
  edge-export --checkpoint mine.ckpt --config training.yaml --name karaoke
  edge-export htdemucs-mini --prune 0.4 --recover 20 --data data
  edge-export htdemucs-mini --target-mb 1                 the smallest ratio whose graphs have at most 1 MB
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        "edge-export",
        "Prune, quantize and export a model, check every graph against the network it came from, and write "
        "DIR/MODEL/, a bundle that edge-run, edge-bench and the demo app take.",
        EXAMPLES,
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="enhancer, htdemucs-mini (shipped; default: both), htdemucs, htdemucs_ft, htdemucs_6s",
    )
    parser.add_argument("--prune", type=float, default=0.0, metavar="RATIO", help="how much to remove, 0 to 0.9")
    parser.add_argument("--target-mb", type=positive_float, metavar="MB", help="search the ratio: largest graph file")
    parser.add_argument("--target-rtf", type=positive_float, metavar="RTF", help="search the ratio: measured here")
    parser.add_argument(
        "--precision",
        default="auto",
        metavar="P",
        help="fp32, fp16, int8, or auto: of each graph what was measured to pay on the target (default: auto)",
    )
    parser.add_argument(
        "--target",
        choices=tuple(PROCESSORS),
        default="arm64",
        help="processor that precision is chosen for, layer by layer (default: arm64)",
    )
    known = ",".join(BACKENDS)
    parser.add_argument("--format", default=known, help=f"comma-separated; default: {known}")
    parser.add_argument("--segment", type=positive_float, metavar="SECONDS", help="separators: audio in one run")
    parser.add_argument("--recover", type=positive_float, metavar="MINUTES", help="training after pruning, on --data")
    parser.add_argument("--data", type=Path, metavar="DIR", help="training data, or a folder of any music")
    parser.add_argument(
        "--audio", type=Path, metavar="FILE", help="compare with the unpruned network on this recording (first minute)"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("bundles"), metavar="DIR", help="default: bundles")
    parser.add_argument("--seed", type=whole_number, default=0)
    parser.add_argument("--json", action="store_true", help="print the manifests as JSON on stdout")
    add_checkpoint_options(parser)
    args = parser.parse_args(argv)
    return run_command("edge-export", lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    enter_workbench("edge-export")
    from edge.export.pipeline import ExportOptions, check_options, export_network
    from edge.zoo import NAMES, SHIPPED

    names = list(dict.fromkeys(args.models or ([None] if args.checkpoint else SHIPPED)))
    unknown = [name for name in names if name is not None and name not in NAMES]
    if unknown:
        hint = "a network of your own: --checkpoint FILE --name NAME"
        raise InputError(f"unknown model {unknown[0]!r}; known: {', '.join(NAMES)} ({hint})")
    if args.checkpoint and len(names) != 1:
        raise InputError("--checkpoint belongs to one MODEL: name it")
    options = ExportOptions(
        prune=args.prune,
        precision=args.precision,
        cpu=args.target,
        formats=tuple(dict.fromkeys(part.strip() for part in args.format.split(",") if part.strip())),
        segment=args.segment,
        recover=_recovery(args),
        audio=args.audio,
        seed=args.seed,
    )
    check_options(options)
    manifests = []
    with _Steps() as steps:
        for name in names:
            model = load(args, name)
            wanted = options
            if args.target_mb or args.target_rtf:
                from edge.benchmarks.compression.search import find_ratio

                targets = dict(target_mb=args.target_mb, target_rtf=args.target_rtf)
                found = find_ratio(model, options, **targets, progress=steps)
                wanted = dataclasses.replace(options, prune=found.ratio)
            manifests.append(export_network(model, wanted, args.output / model.name, steps))
    if args.json:
        print(json.dumps([dataclasses.asdict(m) for m in manifests], indent=2))
        return
    print(summary(manifests))
    for manifest in manifests:
        print(args.output / manifest.name)


def _recovery(args: argparse.Namespace) -> Recovery | None:
    if args.recover is None:
        return None
    if args.data is None:
        raise InputError("--recover needs training data: give --data DIR (songs, or see edge-train data)")
    from edge.training.recover import Recovery

    return Recovery(args.recover, args.data)


def summary(manifests: list) -> str:
    """A table: one row a bundle and graph, before -> after."""
    header = "bundle,graph,params M,MMAC/s,weights MB,file MB,precision,quality dB,parity dB"
    rows = [tuple(header.split(","))]
    for m in manifests:
        cost, quality = m.compression, m.quality.values
        for target, graph in m.graphs.items():
            rows.append(
                (
                    m.name,
                    target,
                    f"{cost.parameters.before / 1e6:.2f} -> {cost.parameters.after / 1e6:.2f}",
                    f"{cost.macs_per_second.before / 1e6:.0f} -> {cost.macs_per_second.after / 1e6:.0f}",
                    f"{cost.parameters.before * 4 / 1e6:.2f} -> {graph.weight_bytes / 1e6:.2f}",
                    f"{graph.bytes / 1e6:.2f}",
                    _precision(graph),
                    " -> ".join(_number(quality.get(k)) for k in ("input", "before", f"after_{target}")),
                    f"{m.parity[target]:.1f}",
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [
        f"{m.name}: quality is {m.quality.metric} of {m.quality.reference}; input -> before -> after" for m in manifests
    ]
    notes += [line for m in manifests for line in (*_agreement(m), *_untrained(m))]
    programs = [(m.name, m.graphs["executorch"]) for m in manifests if "executorch" in m.graphs]
    notes += [f"{name}: ExecuTorch: {graph.delegation()}" for name, graph in programs]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], "", *notes])


def _agreement(m: Manifest) -> list[str]:
    """A line a graph: how near it comes to the unpruned network on the user's recording."""
    found = m.agreement
    if found is None:
        return []
    return [
        f"{m.name}: {backend} on {found['recording']} ({found['metric']}): "
        + ", ".join(f"{source} {_number(value)} dB" for source, value in values.items())
        for backend, values in found["values"].items()
    ]


def _untrained(m: Manifest) -> list[str]:
    if not m.compression.prune_ratio or m.compression.recovery is not None:
        return []
    return [f"{m.name}: the pruned weights were not trained on: they want training (--recover MINUTES --data DIR)"]


def _precision(graph: GraphRecord) -> str:
    return f"{graph.precision} {graph.int8_layers()}/{len(graph.layers)}" if graph.int8_layers() else graph.precision


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


class _Steps:
    """Progress on stderr, where it is a terminal: each step with a clock that goes on within it.

    A clock, since the exporters tell nothing while they work: what moves shows that they do.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._done = threading.Event()
        self._clock: threading.Thread | None = None

    def __call__(self, step: str) -> None:
        self.finish()
        if not sys.stderr.isatty():
            return
        self._bar = tqdm(bar_format="{desc} ... {elapsed}", desc=step, file=sys.stderr)
        self._done = threading.Event()
        self._clock = threading.Thread(target=self._tick, args=(self._bar, self._done), daemon=True)
        self._clock.start()

    def finish(self) -> None:
        if self._bar is None or self._clock is None:
            return
        self._done.set()
        self._clock.join()
        self._bar.close()
        self._bar = self._clock = None

    @staticmethod
    def _tick(bar: tqdm, done: threading.Event) -> None:
        while not done.wait(TICK):
            bar.refresh()

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()


if __name__ == "__main__":
    sys.exit(main())
