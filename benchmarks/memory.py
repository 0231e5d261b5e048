"""Resident memory of a graph, in a process that holds nothing but Python, NumPy, the runtime and the graph.

That process begins in `child`; what it imports counts as the graph's, so nothing else may be imported here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import EdgeError, InputError

if TYPE_CHECKING:
    from edge.bundle import Bundle

RUNS = {"separate": 3, "enhance": 50}  # after the second run of a graph its memory has grown to what it stays at


@dataclass(frozen=True)
class Memory:
    """Peaks in bytes: before the graph, while it loads, of all. held: the share of it that stays after loading.

    torch: whether the runtime's package brought torch along, which `before_bytes` then holds.
    """

    before_bytes: int
    load_bytes: int
    held_bytes: int
    peak_bytes: int
    torch: bool


def measure_memory(bundle: Bundle, backend: str, threads: int = 1) -> Memory | None:
    """Load the graph in a process of its own and run a few segments or hops; None where a system tells no peak.

    Raises EdgeError where that process fails.
    """
    if peak_memory_bytes() is None:
        return None
    from edge.interface import Interface

    interface = Interface(**{field.name: getattr(bundle.manifest, field.name) for field in fields(Interface)})
    path = str(bundle.graph_path(backend))
    told = {"path": path, "backend": backend, "threads": threads, "interface": asdict(interface)}
    code = f"import sys; sys.path[:] = {sys.path!r}; from edge.benchmarks.memory import child; child()"
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(told), capture_output=True, text=True)
    if done.returncode == InputError.exit_code:
        raise InputError(done.stderr.strip())
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it died"])[-1]
        raise EdgeError(f"{bundle.path} ({backend}): the process that measures memory failed: {last}")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def median(measured: Sequence[Memory]) -> Memory:
    """The one with the middle peak."""
    return sorted(measured, key=lambda m: m.peak_bytes)[len(measured) // 2]


def child() -> None:
    """Read what `measure_memory` tells from stdin, print a Memory as JSON."""
    told = json.load(sys.stdin)
    import numpy as np

    from edge.backends import import_backend
    from edge.interface import Interface, TensorSpec
    from edge.runtime.graphs import load_file

    try:
        specs = {
            key: [TensorSpec(spec["name"], tuple(spec["shape"]), spec["dtype"]) for spec in told["interface"][key]]
            for key in ("inputs", "outputs", "states")
        }
        interface = Interface(**told["interface"] | specs)
        import_backend(told["backend"])
        before = _peak()
        bound = load_file(Path(told["path"]), told["backend"], interface, told["threads"]).bind()
        held = _resident()
        load = max(before, held, _peak())  # the kernel's counts are off by some pages
        shape = bound.input.shape
        bound.input[...] = 0.1 * np.sin(0.1 * np.arange(bound.input.size, dtype=np.float32)).reshape(shape)
        for _ in range(RUNS[interface.task]):
            bound.run()
    except EdgeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    print(json.dumps(asdict(Memory(before, load, held, max(load, _peak()), "torch" in sys.modules))))


def peak_memory_bytes() -> int | None:
    """The peak resident set of this process alone, Python and its libraries included; None where unknown.

    Linux: VmHWM, for `ru_maxrss` of a child starts at the peak of the parent that it was forked from.
    """
    if (peak := status_bytes("VmHWM")) is not None:
        return peak
    if sys.platform in ("win32", "linux"):
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _peak() -> int:
    return peak_memory_bytes() or 0


def _resident() -> int:
    """Now; where a system does not tell, its peak."""
    return status_bytes("VmRSS") or _peak()


def status_bytes(key: str, process: int | str = "self") -> int | None:
    """What Linux tells of a process's memory, such as "VmHWM" for its peak; None elsewhere."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    line = next((line for line in lines if line.startswith(f"{key}:")), None)
    return 1024 * int(line.split()[1]) if line else None
