"""The cross-built library on emulated ARM64 cores: golden checks, and what a host in C++ and one in Python add to the
graph's own instructions. native_arm.py BUILD_FOLDER ARM_PYTHON BUNDLE..."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge.benchmarks.arm.emulator import CORES, Emulator, find_emulator, read_marks
from edge.bundle import Bundle, open_bundle
from edge.errors import EdgeError

GUEST = Path(__file__).with_name("native_arm_guest.py")
CALLS = {"enhance": 40, "separate": 2}  # of `process`, a hop each
WARM_UP = {"enhance": 8, "separate": 1}  # before the counts are steady


@dataclass(frozen=True)
class Counted:
    """graph, host: instructions of the median call's run of the graph, and of everything around it."""

    golden_snr_db: float
    graph: int
    host: int


def native(build: Path, emulator: Emulator, core: str, bundle: Bundle) -> Counted:
    """What the library in `build` does with the bundle's ONNX graph. Raises EdgeError where it fails."""
    runtime = next((emulator.python.parent / "site" / "onnxruntime" / "capi").glob("libonnxruntime.so.*"))
    with tempfile.TemporaryDirectory(prefix="stem-edge-arm-") as folder:
        counts, task = Path(folder) / "counts.txt", bundle.manifest.task
        command = [build / "counted", bundle.path, "onnx", str(CALLS[task])]
        out = emulator.program(core, command, counts, {"STEMEDGE_ONNXRUNTIME": str(runtime)})
        return _counted(out, counts, WARM_UP[task])


def python(emulator: Emulator, core: str, bundle: Bundle) -> Counted:
    """The same with the Python sessions."""
    with tempfile.TemporaryDirectory(prefix="stem-edge-arm-") as folder:
        counts, task = Path(folder) / "counts.txt", bundle.manifest.task
        out = emulator.run(core, [GUEST, bundle.path, "onnx", str(CALLS[task])], counts)
        return _counted(out, counts, WARM_UP[task])


def _counted(out: str, counts: Path, warm_up: int) -> Counted:
    golden, kinds = out.split()
    at = [mark["insns"] for mark in read_marks(counts)]
    calls: list[list[int]] = []  # graph and host of each; an interval belongs to the mark that ends it
    for kind, before, after in zip(kinds, [0, *at[:-1]], at, strict=True):
        if kind == "p":
            calls.append([0, 0])
        else:
            calls[-1][kind != "R"] += after - before
    graph, host = (statistics.median_low(values) for values in zip(*calls[warm_up:], strict=True))
    return Counted(float(golden), graph, host)


def main(build: Path, arm: Path, bundles: list[Path]) -> int:
    """Prints the table."""
    emulator = find_emulator(arm)
    print("| bundle | core | golden check | graph, C++ | around it | graph, Python | around it |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for bundle in map(open_bundle, bundles):
        for core in CORES:
            own, other = native(build, emulator, core, bundle), python(emulator, core, bundle)
            figures = [own.graph, own.host, other.graph, other.host]
            cells = [bundle.manifest.name, core, f"{own.golden_snr_db} dB", *(f"{value:,}" for value in figures)]
            print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(path) for path in sys.argv[3:]]))
    except EdgeError as error:
        sys.exit(f"native_arm.py: error: {error}")
