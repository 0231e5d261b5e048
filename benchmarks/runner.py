"""Measures bundles side by side on this machine: interleaved rounds, so that heat and load hit all alike."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from edge.benchmarks import worker
from edge.errors import EdgeError, InputError

ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """One bundle on one backend."""

    bundle: Path
    backend: str


@dataclass(frozen=True)
class Result:
    """Measurements of one case; times in seconds, memory and size in bytes, RTF = time of a hop / its audio.

    `rtf_rounds` has the median of each round, `percentiles` of all hops: keys p50, p95, p99, max.
    """

    bundle: str
    backend: str
    name: str
    task: str
    precision: str
    prune_ratio: float
    graph_bytes: int
    hop_seconds: float
    latency_seconds: float
    load_seconds: float
    first_seconds: float
    golden_snr_db: float
    peak_bytes: int
    hops: int
    rtf: float
    rtf_rounds: list[float]
    percentiles: dict[str, float]


@dataclass
class Report:
    """Results, and what failed as (case, message, exit code)."""

    results: list[Result] = field(default_factory=list)
    failures: list[tuple[Case, str, int]] = field(default_factory=list)


def measure(
    cases: Sequence[Case], threads: int, seconds: float, progress: Callable[[str], None] | None = None
) -> Report:
    """Measure `cases` for about `seconds` each, in ROUNDS interleaved rounds after a golden check and a warm-up.

    Each case lives in a process of its own; the failure of one (its message and exit code are in the report) does
    not stop the others. `progress(label)` is called after each step, of which there are len(cases) * (ROUNDS + 1).
    """
    report = Report()
    step = progress or (lambda label: None)
    with contextlib.ExitStack() as stack:
        workers: dict[Case, Connection] = {}
        loaded: dict[Case, dict[str, Any]] = {}
        rounds: dict[Case, list[list[float]]] = {}

        def attempt(case: Case, action: Callable[..., Any], *request: int | None) -> Any:
            """The answer of the case's process; a failure is recorded, and the case dropped."""
            try:
                return action(case, workers[case], *request)
            except EdgeError as error:
                report.failures.append((case, str(error), error.exit_code))
                workers.pop(case, None)
                return None

        for case in cases:  # one after another: loading side by side would disturb each other's times
            workers[case] = stack.enter_context(_process(case, threads))
            answer = attempt(case, _receive)
            if answer is not None:
                loaded[case], rounds[case] = answer, []
            step(f"load {case.bundle.name}")
        for case in list(workers):  # the second run of the warm-up says how many fit into a round
            warm = attempt(case, _ask, 2)
            if warm is not None:
                loaded[case]["runs"] = max(1, math.ceil(seconds / ROUNDS / max(warm[-1], 1e-6)))
        for number in range(ROUNDS):
            for case in list(workers):
                runs = loaded[case]["runs"]
                times = attempt(case, _ask, runs)
                if times is not None:
                    rounds[case].append(times)
                step(f"round {number + 1} {case.bundle.name}")
        for case in list(workers):
            end = attempt(case, _ask, None)
            if end is not None:
                report.results.append(_result(case, loaded[case] | end, rounds[case]))
    return report


@contextlib.contextmanager
def _process(case: Case, threads: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's memory and thread pools
    ours, theirs = context.Pipe()
    process = context.Process(target=worker.serve, args=(theirs, str(case.bundle), case.backend, threads), daemon=True)
    process.start()
    theirs.close()  # so that a crash of the process ends the pipe
    try:
        yield ours
    finally:
        ours.close()
        process.join(timeout=5)
        process.kill()


def _ask(case: Case, connection: Connection, request: int | None) -> Any:
    try:
        connection.send(request)
    except OSError as error:
        raise EdgeError(f"{case.bundle} ({case.backend}): the process died; the graph crashed it") from error
    return _receive(case, connection)


def _receive(case: Case, connection: Connection) -> Any:
    try:
        answer = connection.recv()
    except (EOFError, OSError) as error:
        raise EdgeError(f"{case.bundle} ({case.backend}): the process died; the graph crashed it") from error
    if isinstance(answer, dict) and "error" in answer:
        raise (InputError if answer["exit_code"] == 2 else EdgeError)(answer["error"])
    return answer


def _result(case: Case, values: dict[str, Any], rounds: list[list[float]]) -> Result:
    hops = np.concatenate(rounds)
    p50, p95, p99 = np.percentile(hops, [50, 95, 99])
    medians = [statistics.median(times) / values["hop_seconds"] for times in rounds]
    del values["runs"]
    return Result(
        bundle=str(case.bundle),
        backend=case.backend,
        hops=len(hops),
        rtf=float(p50) / values["hop_seconds"],
        rtf_rounds=medians,
        percentiles={"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(hops.max())},
        **values,
    )
