"""Measures bundles side by side on this machine, so that heat, load and the neighbours of a virtual machine hit all
alike: many short rounds, in each of which every case runs for a slice, in random order.

Where code and data happen to lie in memory can make a process a few percent faster for as long as it lives, so the
rounds are spread over several launches of each case's process.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.benchmarks import floor, worker
from edge.benchmarks.floor import Floor, Peak
from edge.benchmarks.memory import Memory, measure_memory, median
from edge.benchmarks.profiling import Profile
from edge.benchmarks.stats import Ratio
from edge.bundle import open_bundle
from edge.errors import EdgeError, InputError

if TYPE_CHECKING:
    from edge.benchmarks.memory_profile import GraphMemory

MIN_ROUNDS, MAX_ROUNDS = 6, 60
SLICE_SECONDS = 0.1  # the shortest share of a round; much shorter, and cold caches would be measured
LAUNCHES = 3

Progress = Callable[[float, str], None]


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


@dataclass(frozen=True)
class Failure:
    """What could not be measured, in one line, with the exit code of its kind."""

    bundle: str
    backend: str | None
    threads: int | None
    error: str
    exit_code: int


@dataclass
class Other:
    """Something else that takes part in the rounds: a function that runs in a process of its own.

    `target(connection, *arguments)` speaks the protocol of `worker.answer_requests`; a request 1 gives a list of
    seconds, of which one round is made. `told` has its description and peak_bytes, `rounds` a list a round.
    """

    target: Callable[..., None]
    arguments: tuple[Any, ...]
    told: dict[str, Any] = field(default_factory=dict)
    rounds: list[list[float]] = field(default_factory=list)


@dataclass
class Report:
    """Results in the order of the cases."""

    results: list[Result] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)
    rounds: int = 0
    failures: list[Failure] = field(default_factory=list)


class _Died(EdgeError):
    pass


@dataclass
class _Member:
    """A case or an Other, with what its processes have told so far."""

    label: str
    place: tuple[str, str | None, int | None]  # as in Failure
    target: Callable[..., None]
    arguments: tuple[Any, ...]
    adapts: bool = False  # runs as often in a round as its share of the time allows
    told: list[dict[str, Any]] = field(default_factory=list)  # one a launch
    rounds: list[list[float]] = field(default_factory=list)
    runs: int = 1
    warm: float = 0.0  # seconds of a round with one run
    connection: Connection | None = None

    def ask(self, request: Any) -> Any:
        assert self.connection is not None
        try:
            self.connection.send(request)
        except OSError as error:
            raise _Died("the process died; the graph crashed it") from error
        return self.receive()

    def receive(self) -> Any:
        assert self.connection is not None
        try:
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise _Died("the process died; the graph crashed it") from error
        if isinstance(answer, dict) and "error" in answer:
            raise (InputError if answer["exit_code"] == 2 else EdgeError)(answer["error"])
        return answer


def measure(
    cases: Sequence[Case],
    seconds: float,
    progress: Progress | None = None,
    *,
    with_floor: bool = False,
    others: Mapping[str, Other] | None = None,
    launches: int = LAUNCHES,
    seed: int = 0,
) -> Report:
    """Measure `cases` for about `seconds` each, after a golden check and a warm-up.

    The failure of one, which the report names, does not stop the rest. with_floor: also the probes of
    `edge.benchmarks.floor`; others: by name, filled in here; both take part in every round. `progress(share, label)`
    is called after each step with the share that is done, 0 to 1.
    """
    own = {case: _case_member(case) for case in cases}
    others = others or {}
    guests = {name: _Member(name, (name, None, None), o.target, o.arguments) for name, o in others.items()}
    kinds = dict.fromkeys((case.backend, case.threads) for case in cases) if with_floor else {}
    probes = {kind: _Member(f"peak of {kind[0]}", ("peak", *kind), floor.serve_probes, kind) for kind in kinds}
    report = Report()
    _Rounds([*own.values(), *guests.values(), *probes.values()], seconds, launches, seed, progress, report).run()
    for kind, member in probes.items():
        if member.rounds:
            report.peaks += floor.peaks(*kind, member.told[0]["macs"], member.told[0]["bytes"], member.rounds)
    for name, member in guests.items():
        others[name].rounds = member.rounds
        others[name].told = {key: value for told in reversed(member.told) for key, value in told.items()}
    memory = _memories(own, launches, report)
    failed = {(f.bundle, f.backend, f.threads) for f in report.failures}
    report.results = [
        _result(c, m, memory[c], report.peaks) for c, m in own.items() if m.rounds and m.place not in failed
    ]
    return report


def run_alone(target: Callable[..., None], arguments: tuple[Any, ...], request: Any) -> Any:
    """The answer to one request of a process of its own; raises EdgeError where it fails or dies."""
    member = _Member("", ("", None, None), target, arguments)
    with _process(target, arguments) as member.connection:
        member.receive()
        answer = member.ask(request)
        member.ask(None)
        return answer


def _memories(own: Mapping[Case, _Member], launches: int, report: Report) -> dict[Case, Memory | None]:
    """By case, the median of `launches` processes: after the rounds, which they would disturb."""
    memories: dict[Case, Memory | None] = {}
    for case, member in own.items():
        if not member.rounds:
            continue
        try:
            bundle = open_bundle(case.bundle)
            measured = [measure_memory(bundle, case.backend, case.threads) for _ in range(launches)]
        except EdgeError as error:
            report.failures.append(Failure(case.bundle.name, case.backend, case.threads, str(error), error.exit_code))
            continue
        memories[case] = median([m for m in measured if m]) if all(measured) else None
    return memories


def _case_member(case: Case) -> _Member:
    arguments = (str(case.bundle), case.backend, case.threads)
    return _Member(case.bundle.name, arguments, worker.serve, arguments, adapts=True)


class _Rounds:
    """The rounds over all members, in several launches."""

    def __init__(
        self,
        members: list[_Member],
        seconds: float,
        launches: int,
        seed: int,
        progress: Progress | None,
        report: Report,
    ):
        self._members, self._seconds, self._launches, self._report = members, seconds, launches, report
        self._order = random.Random(seed)
        self._progress, self._steps, self._total = progress, 0, launches * len(members) * MAX_ROUNDS

    def run(self) -> None:
        """Fills in the members, and the report's failures and rounds."""
        for launch in range(self._launches):
            with contextlib.ExitStack() as stack:
                for member in list(self._members):  # not side by side: they would disturb each other's load times
                    member.connection = stack.enter_context(_process(member.target, member.arguments))
                    self._each(member, self._load)
                if launch == 0:
                    self._plan()
                count = self._report.rounds // self._launches + (launch < self._report.rounds % self._launches)
                for _ in range(count):
                    for member in self._order.sample(self._members, len(self._members)):
                        self._each(member, lambda m: m.rounds.append(m.ask(m.runs)))
                for member in list(self._members):
                    self._each(member, self._end)

    def _each(self, member: _Member, action: Callable[[_Member], None]) -> None:
        """A member whose process fails is dropped, and the failure recorded."""
        try:
            action(member)
        except EdgeError as error:
            bundle, backend, threads = member.place
            place = f"{bundle} ({backend}): " if backend else f"{bundle}: "
            text = str(error) if bundle in str(error) else place + str(error)
            self._report.failures.append(Failure(bundle, backend, threads, text, error.exit_code))
            self._members.remove(member)
        self._steps += 1
        if self._progress is not None:
            self._progress(min(1.0, self._steps / self._total), member.label)

    @staticmethod
    def _load(member: _Member) -> None:
        member.told.append(member.receive())
        member.ask(1)  # the second run of the warm-up says how many fit into a round
        member.warm = member.warm or sum(member.ask(1))

    @staticmethod
    def _end(member: _Member) -> None:
        if member.adapts:
            member.told[-1] |= member.ask("overhead") or {}
        member.told[-1] |= member.ask(None)

    def _plan(self) -> None:
        slowest = max((member.warm for member in self._members), default=1.0)
        rounds = min(MAX_ROUNDS, int(self._seconds / max(SLICE_SECONDS, slowest)))
        self._report.rounds = rounds = max(MIN_ROUNDS, self._launches, rounds)
        self._total = len(self._members) * (2 * self._launches + rounds)
        for member in self._members:
            if member.adapts:
                member.runs = max(1, math.ceil(self._seconds / rounds / max(member.warm, 1e-6)))


@contextlib.contextmanager
def _process(target: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's memory and thread pools
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()  # so that a crash of the process ends the pipe
    try:
        yield ours
    finally:
        ours.close()
        process.join(timeout=5)
        process.kill()


def _result(case: Case, member: _Member, memory: Memory | None, peaks: list[Peak]) -> Result:
    values = {key: value for told in member.told for key, value in told.items()}
    hop = values["hop_seconds"]
    runs = np.concatenate(member.rounds)
    p50, p95, p99 = (float(p) for p in np.percentile(runs, [50, 95, 99]))
    lowest = floor.floor(values, case.backend, case.threads, p50, peaks)
    del values["run_seconds"], values["io_bytes"]
    overhead = ("overhead_seconds", "overhead_share", "overhead_share_of_work", "native_seconds")
    for key in ("load_seconds", "first_seconds", *overhead):
        if key in values:
            values[key] = statistics.median(told[key] for told in member.told)
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
