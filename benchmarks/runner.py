"""Measures bundles side by side on this machine: many short rounds, in each of which every case runs for a slice, in
random order (see edge.benchmarks.rounds)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.benchmarks import floor, worker
from edge.benchmarks.floor import Floor, Peak
from edge.benchmarks.memory import Memory, measure_memory, median
from edge.benchmarks.profiling import Profile
from edge.benchmarks.rounds import Failure, Participant, Progress, Rounds
from edge.benchmarks.stats import Ratio
from edge.bundle import open_bundle
from edge.errors import EdgeError

if TYPE_CHECKING:
    from edge.benchmarks.memory_profile import GraphMemory

LAUNCHES = 3


@dataclass(frozen=True)
class Case:
    """One bundle on one backend with a number of threads."""

    bundle: Path
    backend: str
    threads: int = 1


@dataclass
class Result:
    """Measurements of one case: the fields, their units and meaning are those of report.schema.json."""

    bundle: str
    backend: str
    threads: int
    name: str
    task: str
    precision: str
    prune_ratio: float
    sample_rate: int
    hop_seconds: float
    latency_seconds: float
    graph_bytes: int
    weight_bytes: int | None
    weight_bytes_per_second: float | None
    macs_per_second: float | None
    attention_macs_per_second: float | None
    golden_snr_db: float
    load_seconds: float
    first_seconds: float
    hops: int
    rtf: float
    rtf_rounds: list[float]
    hop_time: dict[str, float]
    hop_quantiles: list[float]
    deadline_misses: int
    peak_bytes: int | None
    overhead_seconds: float | None = None
    overhead_share: float | None = None
    overhead_share_of_work: float | None = None
    native_seconds: float | None = None
    ratio: Ratio | None = None
    floor: Floor | None = None
    memory: Memory | None = None
    profile: Profile | None = None
    graph_memory: GraphMemory | None = None


@dataclass
class Report:
    """Results in the order of the cases."""

    results: list[Result] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)
    rounds: int = 0
    failures: list[Failure] = field(default_factory=list)


def measure(
    cases: Sequence[Case],
    seconds: float,
    progress: Progress | None = None,
    *,
    with_floor: bool = False,
    others: Sequence[Participant] = (),
    launches: int = LAUNCHES,
    seed: int = 0,
) -> Report:
    """Measure `cases` for about `seconds` each, after a golden check and a warm-up.

    The failure of one, which the report names, does not stop the rest. with_floor: also the probes of
    `edge.benchmarks.floor`; others: filled in here; both take part in every round. `progress(share, label)` is called
    after each step with the share that is done, 0 to 1.
    """
    own = {case: _participant(case) for case in cases}
    kinds = dict.fromkeys((case.backend, case.threads) for case in cases) if with_floor else {}
    probes = [Participant(f"peak of {kind[0]}", floor.serve_probes, kind, ("peak", *kind)) for kind in kinds]
    rounds = Rounds([*own.values(), *others, *probes], launches, seed, progress)
    rounds.run(seconds)
    report = Report(rounds=rounds.count, failures=rounds.failures)
    for probe in probes:
        if probe.rounds:
            backend, threads = probe.arguments
            report.peaks += floor.peaks(backend, threads, probe.told["macs"], probe.told["bytes"], probe.rounds)
    for case, member in own.items():
        if member.failed:
            continue
        try:  # after the rounds, which it would disturb
            memory = _memory(case, launches)
            report.results.append(_result(case, member, memory, report.peaks))
        except EdgeError as error:
            report.failures.append(member.failure(error))
    return report


def _memory(case: Case, launches: int) -> Memory | None:
    """The median of `launches` processes; None where a system does not tell."""
    bundle = open_bundle(case.bundle)
    measured = [measure_memory(bundle, case.backend, case.threads) for _ in range(launches)]
    return median([m for m in measured if m]) if all(measured) else None


def _participant(case: Case) -> Participant:
    arguments = (str(case.bundle), case.backend, case.threads)
    return Participant(case.bundle.name, worker.serve, arguments, arguments, adapts=True)


def _result(case: Case, member: Participant, memory: Memory | None, peaks: list[Peak]) -> Result:
    values = member.told
    hop = values["hop_seconds"]
    runs = np.concatenate(member.rounds)
    p50, p95, p99 = (float(p) for p in np.percentile(runs, [50, 95, 99]))
    lowest = floor.floor(values, case.backend, case.threads, p50, peaks)
    del values["run_seconds"], values["io_bytes"]
    overhead = ("overhead_seconds", "overhead_share", "overhead_share_of_work", "native_seconds")
    for key in ("load_seconds", "first_seconds", *overhead):
        if key in values:
            values[key] = statistics.median(told[key] for told in member.launches)
    values["peak_bytes"] = memory and memory.peak_bytes  # the measuring process holds more than the graph needs
    return Result(
        bundle=str(case.bundle),
        backend=case.backend,
        threads=case.threads,
        hops=len(runs),
        rtf=p50 / hop,
        rtf_rounds=[statistics.median(times) / hop for times in member.rounds],
        hop_time={"min": float(runs.min()), "p50": p50, "p95": p95, "p99": p99, "max": float(runs.max())},
        hop_quantiles=[float(q) for q in np.quantile(runs, np.linspace(0, 1, 21))],
        deadline_misses=int(np.sum(runs > hop)),
        floor=lowest,
        memory=memory,
        **values,
    )
