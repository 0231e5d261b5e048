"""Instructions by operator of an ONNX graph: python -m edge.benchmarks.arm.operators BUNDLE --arm ARM_PYTHON

ONNX Runtime's profiler reads the clock before and after each node. Under emulation that is a system call, at which a
second copy of the counter writes its total.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.benchmarks.arm.emulator import CORES, HOW_TO_MAKE, Emulator, find_emulator, read_marks
from edge.bundle import Bundle, open_bundle
from edge.console import make_parser, positive_int, run_command
from edge.errors import EdgeError, InputError

NAME = "edge.benchmarks.arm.operators"
GUEST = Path(__file__).with_name("guest_operators.py")
RUNS = {"enhance": 3, "separate": 1}
_CLOCK_GETTIME = 113  # its number on ARM64
EXAMPLES = f"""\
  python -m edge.benchmarks.arm.operators bundles/enhancer --arm DEST/arm-python
  python -m edge.benchmarks.arm.operators bundles/htdemucs-mini --cpu i8mm --top 30 --arm DEST/arm-python

no emulated Python yet? {HOW_TO_MAKE}
"""


@dataclass(frozen=True)
class Node:
    """A node as it ran, after the runtime's own optimizations: shapes of its inputs and outputs, instructions."""

    name: str
    operator: str
    inputs: list[list[int]]
    outputs: list[list[int]]
    instructions: int


def profile(bundle: Bundle, emulator: Emulator, core: str) -> tuple[int, list[Node]]:
    """Instructions of one run without the profiler, and its nodes in the order in which they ran.

    Raises InputError where the emulator has no counter beside it, EdgeError where counts and profile do not match.
    """
    counter = emulator.python.with_name("libicount.so")
    if not counter.is_file():
        raise InputError(f"{counter}: the counter is not there; {HOW_TO_MAKE}")
    runs = RUNS[bundle.manifest.task]
    with tempfile.TemporaryDirectory(prefix="stem-edge-arm-") as name:
        folder = Path(name)
        clock = shutil.copy(counter, folder / "clock.so")  # a copy: one library would have one set of counts
        arguments = [str(GUEST), str(bundle.folder.resolve()), str(runs), str(folder / "profile")]
        plugin = {"QEMU_PLUGIN": f"{clock},mark={_CLOCK_GETTIME},classes=0"}
        printed = emulator.run(core, arguments, folder / "counts.txt", plugin)
        events = json.loads(Path(printed.splitlines()[-1]).read_text())
        marks = read_marks(folder / "counts.txt")
    ends = [i for i, mark in enumerate(marks) if mark["branch"]]  # the clock's copy of the counter has no classes
    if len(ends) != 4 * runs:
        raise EdgeError("the counter did not see every run")
    plain = marks[ends[2 * runs - 1]]["insns"] - marks[ends[2 * runs - 2]]["insns"]
    clocks = [mark["insns"] for mark in marks[ends[-2] + 1 : ends[-1]]]
    executed = [event for event in events if event["cat"] == "Node"]
    return plain, attribute(executed[-(len(executed) // runs) :], clocks, plain)


def attribute(events: list[dict[str, Any]], clocks: list[int], plain: int) -> list[Node]:
    """The nodes of one run with their instructions: `events` of the profile, totals at each clock reading, and the
    instructions of a run without the profiler, to which those of the nodes add up.

    Raises EdgeError where there are fewer readings than two a node.
    """
    spare = len(clocks) - 2 * len(events)
    if spare < 0 or not events:
        raise EdgeError(f"{len(clocks)} clock readings for {len(events)} nodes: not ONNX Runtime's profiler as known")
    # The run itself is timed too. The readings of the nodes start where counts agree best with the times.
    seconds = np.log1p([event["dur"] for event in events])
    spans = [np.diff(clocks[first : first + 2 * len(events)])[::2] for first in range(spare + 1)]
    agreement = [_correlation(seconds, np.log1p(span)) for span in spans]
    span = spans[int(np.argmax(agreement))]
    overhead = max(0.0, (span.sum() - plain) / len(events))
    return [
        Node(
            event["name"].removesuffix("_kernel_time"),
            event["args"]["op_name"],
            _shapes(event["args"]["input_type_shape"]),
            _shapes(event["args"]["output_type_shape"]),
            round(count - overhead),
        )
        for event, count in zip(events, span, strict=True)
    ]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (np.sqrt((a @ a) * (b @ b)) + 1e-30))


def _shapes(typed: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for value in typed for shape in value.values()]


def text(plain: int, nodes: list[Node], top: int) -> str:
    """Operators by cost, then the `top` dearest nodes."""
    sums: dict[str, list[int]] = {}
    for node in nodes:
        sums.setdefault(node.operator, []).append(node.instructions)
    lines = [f"{'operator':24} {'nodes':>6} {'k instructions':>15} {'share':>7} {'k a node':>10}"]
    for operator, counts in sorted(sums.items(), key=lambda item: -sum(item[1])):
        total = sum(counts)
        share, each = total / plain, total / len(counts)
        lines.append(f"{operator:24} {len(counts):6} {total / 1e3:15,.0f} {share:7.1%} {each / 1e3:10,.1f}")
    lines.append(f"{'run':24} {len(nodes):6} {plain / 1e3:15,.0f}")
    for node in sorted(nodes, key=lambda n: -n.instructions)[:top]:
        shapes = f"{' '.join(map(_shape, node.inputs[:2]))} -> {' '.join(map(_shape, node.outputs[:2]))}"
        lines.append(f"{node.instructions / 1e3:12,.0f} k  {node.operator}  {shapes}  {node.name}")
    return "\n".join(lines)


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(NAME, "Instructions of an ONNX graph by operator on an emulated ARM64 core.", EXAMPLES)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder or NAME.edge")
    parser.add_argument("--arm", type=Path, required=True, metavar="ARM_PYTHON", help="the emulated Python")
    parser.add_argument("--cpu", choices=CORES, default="cortex-a76", help="default: cortex-a76")
    parser.add_argument("--top", type=positive_int, default=12, help="dearest nodes to list (default: 12)")
    args = parser.parse_args(argv)

    def run() -> None:
        emulator = find_emulator(args.arm)
        print(text(*profile(open_bundle(args.bundle), emulator, args.cpu), args.top))

    return run_command(NAME, run)


if __name__ == "__main__":
    sys.exit(main())
