"""Systems side by side on a test set, of clips or of songs: all on the same recordings in one run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from edge.benchmarks.peers.client import Process, start
from edge.benchmarks.quality.metrics import summary
from edge.benchmarks.quality.systems import OURS, Scores, System
from edge.errors import EdgeError

PENDING = 8  # estimates that wait to be scored

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """What is scored by itself: a clip, or one source of a song. `key` is of its scores, `file` names its audio."""

    condition: str
    group: str
    key: str
    file: str


class Test(Protocol):
    """A recording that systems are given. Its last part is one that every system of the task has an estimate of."""

    @property
    def parts(self) -> Sequence[Part]: ...
    @property
    def rate(self) -> int: ...
    def reference(self, part: Part) -> np.ndarray:
        """float32 (n,) or (channels, n): what a perfect system would give."""

    def estimates(self, system: System, process: Process | None) -> dict[str, np.ndarray]:
        """By condition. `process` is None for a system without one."""

    def scoring(self, part: Part, estimate: np.ndarray) -> tuple[Any, ...]:
        """A function and its arguments, for another process."""


def run_systems(
    systems: Sequence[System],
    tests: Sequence[Test],
    scores: Scores,
    jobs: int = 1,
    listen: Path | None = None,
    shown: Sequence[Test] = (),
    progress: Progress = lambda _: None,
) -> list[str]:
    """Score every system on every test into `scores`; returns one line for each system that failed.

    listen: a folder that gets `SYSTEM/FILE.flac` of the tests in `shown`. `progress(label)` is called once a system
    and test. `jobs` processes compute the metrics while the systems work.
    """
    failed = []
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for system in systems:
            folder = listen / system.name if listen else None
            files = {part.key: folder / f"{part.file}.flac" for test in shown for part in test.parts if folder}
            todo = []
            for test in tests:
                last = test.parts[-1].key
                if scores.get(system, last) is None or (last in files and not files[last].exists()):
                    todo.append(test)
                else:
                    progress(system.title)
            try:
                if todo:
                    _run_one(system, todo, scores, pool, files, progress)
            except EdgeError as error:
                failed.append(str(error))
    return failed


def _run_one(system, tests, scores, pool, files, progress) -> None:
    waiting: list[tuple[Part, bool, Future]] = []

    def collect(down_to: int) -> None:
        while len(waiting) > down_to:
            part, is_last, future = waiting.pop(0)
            scores.add(system, part.key, future.result())
            if is_last:
                progress(system.title)

    try:
        with start(system.launch) if system.launch else nullcontext() as process:
            for test in tests:
                estimates = test.estimates(system, process)
                for part in test.parts:
                    if part.condition in estimates:
                        estimate = estimates[part.condition]
                        if part.key in files:
                            write_audio(files[part.key], estimate, test.rate)
                        future = pool.submit(*test.scoring(part, estimate))
                        waiting.append((part, part is test.parts[-1], future))
                        collect(PENDING)
    finally:
        collect(0)


def write_audio(path: Path, audio: np.ndarray, rate: int) -> None:
    """float32 (n,) or (channels, n) as FLAC, 16 bits, clipped at full scale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(audio.T, -1, 1), rate, subtype="PCM_16")


def rows(systems: Sequence[System], parts: Sequence[Part], scores: Scores) -> list[dict[str, Any]]:
    """One row a condition, group ("" for the whole condition) and system: summaries of each metric, and the paired
    difference "ours minus this system" with its interval. A part that any system lacks is left out for all."""
    out = []
    for condition in dict.fromkeys(part.condition for part in parts):
        own = [part for part in parts if part.condition == condition]
        groups = sorted({part.group for part in own}, key=_natural)
        for group in ["", *(groups if len(groups) > 1 else [])]:
            out += _group_rows(condition, group, systems, [part for part in own if group in ("", part.group)], scores)
    return out


def _group_rows(condition, group, systems, parts, scores) -> list[dict[str, Any]]:
    table = {s.name: [scores.get(s, part.key) for part in parts] for s in systems}
    present = {name: values for name, values in table.items() if all(v is not None for v in values)}
    out = []
    for name, values in present.items():
        metrics, versus = {}, {}
        for metric in values[0]:
            valid = [k for k in range(len(parts)) if all(v[k][metric] is not None for v in present.values())]
            if not valid:
                continue
            own = [values[k][metric] for k in valid]
            metrics[metric] = summary(own)
            if OURS in present and name != OURS:
                versus[metric] = summary([present[OURS][k][metric] - v for k, v in zip(valid, own, strict=True)])
        out.append({"condition": condition, "group": group, "system": name, "metrics": metrics, "ours_minus": versus})
    return out


def _natural(group: str) -> tuple[int, str]:
    number = re.match(r"-?\d+", group)
    return int(number[0]) if number else 0, group
