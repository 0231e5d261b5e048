"""Counts of one bundle on one emulated core, as instructions by class for one second of audio."""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.benchmarks.arm.emulator import Emulator, read_marks
from edge.bundle import Bundle
from edge.errors import EdgeError, InputError

GUEST = Path(__file__).with_name("guest.py")
# Runs before the counts are steady: the first packs weights and lays out memory.
WARM_UP = {"enhance": 8, "separate": 1}
# The golden check of an enhancer has more hops than this; a separator's is one run.
HOPS = {"enhance": 40, "separate": 2}

# Class here -> classes of the counter. What none of them holds is "other": scalar integer arithmetic.
CLASSES = {
    "fma": ("vfma", "sfma"),
    "dot": ("dot",),
    "matrix": ("mmla",),
    "widening": ("imla",),
    "simd": ("simd_other", "sve", "sme"),
    "memory": ("mem",),
    "branch": ("branch",),
}


@dataclass(frozen=True)
class Case:
    """One bundle on one backend and one emulated core."""

    bundle: Bundle
    backend: str
    core: str

    @property
    def key(self) -> str:
        """What identifies the case in a baseline: it survives another export of the same network."""
        m = self.bundle.manifest
        precision = m.graphs[self.backend].made_in()
        return f"{m.name} {precision} pruned {m.compression.prune_ratio:g} {self.backend} {self.core}"


@dataclass(frozen=True)
class Budget:
    """Counts of a case. `per_hop` and `per_second` map "total", the CLASSES and "other" to instructions.

    per_hop: of the median hop after the warm-up; per_second: for one second of audio, a separator's overlap
    included; first, largest: total of the first run and of the largest after the warm-up over that of the median;
    repeats: `per_hop["total"]` of each repetition in a process of its own.
    """

    key: str
    name: str
    precision: str
    prune_ratio: float
    backend: str
    core: str
    graph_sha256: str
    golden_snr_db: float
    golden_min_snr_db: float
    hop_seconds: float
    hops: int
    per_hop: dict[str, int]
    per_second: dict[str, float]
    first: float
    largest: float
    weight_bytes_per_second: float
    repeats: list[int]
    tools: dict[str, str] = field(default_factory=dict)


def measure(case: Case, emulator: Emulator, repeats: int = 1) -> Budget:
    """Check `case` on its emulated core against the golden output, and count.

    Raises EdgeError or InputError where the graph fails there or the golden check does.
    """
    runs = [_run(case, emulator) for _ in range(repeats)]
    answer, hops = runs[0]
    manifest = case.bundle.manifest
    graph = manifest.graphs[case.backend]
    steady = hops[WARM_UP[manifest.task] :]
    per_hop = median_hop(steady)
    seconds = manifest.hop / manifest.sample_rate
    return Budget(
        key=case.key,
        name=manifest.name,
        precision=graph.made_in(),
        prune_ratio=manifest.compression.prune_ratio,
        backend=case.backend,
        core=case.core,
        graph_sha256=manifest.files[graph.file].sha256,
        golden_snr_db=round(answer["golden_snr_db"], 1),
        golden_min_snr_db=manifest.golden.outputs[case.backend].min_snr_db,
        hop_seconds=seconds,
        hops=len(steady),
        per_hop=per_hop,
        per_second={name: round(count / seconds) for name, count in per_hop.items()},
        first=round(hops[0]["total"] / per_hop["total"], 4),
        largest=round(max(hop["total"] for hop in steady) / per_hop["total"], 4),
        weight_bytes_per_second=round(graph.weight_bytes / seconds),
        repeats=[median_hop(counted[WARM_UP[manifest.task] :])["total"] for _, counted in runs],
        tools=answer["tools"],
    )


def _run(case: Case, emulator: Emulator) -> tuple[dict[str, Any], list[dict[str, int]]]:
    """The guest's answer, and the counts of every run of the graph by class."""
    hops = HOPS[case.bundle.manifest.task]
    with tempfile.TemporaryDirectory(prefix="stem-edge-arm-") as folder:
        counts = Path(folder) / "counts.txt"
        arguments = [str(GUEST), str(case.bundle.folder.resolve()), case.backend, str(hops)]
        try:
            answer = json.loads(emulator.run(case.core, arguments, counts).splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise EdgeError(f"{case.key}: the emulated process gave no answer") from error
        except EdgeError as error:
            raise EdgeError(f"{case.key}: {error}") from error
        if "error" in answer:
            raise (InputError if answer["exit_code"] == 2 else EdgeError)(f"{case.key}: {answer['error']}")
        return answer, runs_between(read_marks(counts))


def runs_between(marks: list[dict[str, int]]) -> list[dict[str, int]]:
    """Instructions by class of each run, from the totals at its begin and end, in turn."""
    return [by_class(before, after) for before, after in zip(marks[::2], marks[1::2], strict=True)]


def by_class(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Instructions between two totals of the counter: "total", the CLASSES and "other"."""
    spent = {name: after[name] - before[name] for name in after}
    counts = {name: sum(spent.get(part, 0) for part in parts) for name, parts in CLASSES.items()}
    total = spent["insns"]
    return {"total": total, **counts, "other": total - sum(counts.values())}


def median_hop(hops: list[dict[str, int]]) -> dict[str, int]:
    """The hop whose total is the (lower) median: its classes add up to its total, as medians by class would not."""
    median = statistics.median_low(hop["total"] for hop in hops)
    return next(hop for hop in hops if hop["total"] == median)
