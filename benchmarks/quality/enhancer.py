"""Enhancers side by side on a test set: ours, the noisy input, and the peers, all on the same files in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from edge.benchmarks.peers.client import start
from edge.benchmarks.quality.metrics import RATE, level_dbfs, speech_scores, summary
from edge.benchmarks.quality.sets import Clip
from edge.benchmarks.quality.systems import OURS, Scores, System
from edge.errors import EdgeError
from edge.metrics import log_spectral_distance

INPUT = System("input", "noisy input", "0")
PENDING = 8  # clips that wait to be scored

Progress = Callable[[str], None]


class Scored(Protocol):
    """What rows are made of: a clip, or a stem of a song."""

    @property
    def condition(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def key(self) -> str: ...


def score(clip: Clip, estimate: np.ndarray) -> dict[str, float | None]:
    """What a clip of this condition is judged by."""
    if clip.condition in ("silence", "noise alone"):
        return {"residual": level_dbfs(estimate[clip.skip :])}
    if clip.condition == "band-limited":
        return {"lsd": log_spectral_distance(clip.clean, estimate)} | speech_scores(clip.clean, estimate, False)
    return speech_scores(clip.clean, estimate)


def run_systems(
    systems: Sequence[System],
    clips: Sequence[Clip],
    scores: Scores,
    jobs: int = 1,
    listen: Path | None = None,
    listen_to: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> list[str]:
    """Score every system on every clip into `scores`; returns one line for each system that failed.

    listen: a folder that gets `SYSTEM/CLIP.flac` for the clip names in `listen_to`. `progress(label)` is called once
    a system and clip. `jobs` processes compute the metrics while the systems work.
    """
    failed = []
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for system in systems:
            todo = [c for c in clips if scores.get(system, c.key) is None or _missing(listen, listen_to, system, c)]
            for _ in range(len(clips) - len(todo)):
                progress(system.title)
            try:
                if not todo:
                    continue
                _run_one(system, todo, scores, pool, listen, listen_to, progress)
            except EdgeError as error:
                failed.append(str(error))
    return failed


def _run_one(system, todo, scores, pool, listen, listen_to, progress) -> None:
    waiting: list[tuple[Clip, Future]] = []

    def collect(down_to: int) -> None:
        while len(waiting) > down_to:
            clip, future = waiting.pop(0)
            scores.add(system, clip.key, future.result())
            progress(system.title)

    try:
        for clip, estimate in _estimates(system, todo):
            if listen is not None and clip.name in listen_to:
                write_audio(_file(listen, system, clip), estimate)
            waiting.append((clip, pool.submit(score, clip, estimate)))
            collect(PENDING)
    finally:
        collect(0)


def _estimates(system: System, todo: Iterable[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
    if system.launch is None:
        yield from ((clip, clip.noisy) for clip in todo)
        return
    with start(system.launch) as process:
        for clip in todo:
            yield clip, process.run(clip.noisy[None], RATE)[0, 0]


def write_audio(path: Path, audio: np.ndarray, rate: int = RATE) -> None:
    """float32 (n,) or (channels, n) as FLAC, 16 bits, clipped at full scale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(audio.T, -1, 1), rate, subtype="PCM_16")


def _file(listen: Path, system: System, clip: Clip) -> Path:
    return listen / system.name / f"{clip.name}.flac"


def _missing(listen: Path | None, listen_to: Sequence[str], system: System, clip: Clip) -> bool:
    return listen is not None and clip.name in listen_to and not _file(listen, system, clip).exists()


def rows(systems: Sequence[System], clips: Sequence[Scored], scores: Scores) -> list[dict[str, Any]]:
    """One row a condition, group ("" for the whole condition) and system: summaries of each metric, and the paired
    difference "ours minus this system" with its interval. A clip that any system lacks is left out for all."""
    out = []
    conditions = list(dict.fromkeys(clip.condition for clip in clips))
    for condition in conditions:
        own = [clip for clip in clips if clip.condition == condition]
        groups = sorted({clip.group for clip in own}, key=_natural)
        for group in ["", *(groups if len(groups) > 1 else [])]:
            chosen = [clip for clip in own if group in ("", clip.group)]
            out += _group_rows(condition, group, systems, chosen, scores)
    return out


def _group_rows(condition, group, systems, clips, scores) -> list[dict[str, Any]]:
    table = {s.name: [scores.get(s, clip.key) for clip in clips] for s in systems}
    present = {name: values for name, values in table.items() if all(v is not None for v in values)}
    out = []
    for name, values in present.items():
        metrics, versus = {}, {}
        for metric in values[0]:
            valid = [k for k in range(len(clips)) if all(v[k][metric] is not None for v in present.values())]
            if not valid:
                continue
            own = [values[k][metric] for k in valid]
            metrics[metric] = summary(own)
            if OURS in present and name != OURS:
                versus[metric] = summary([present[OURS][k][metric] - v for k, v in zip(valid, own, strict=True)])
        out.append({"condition": condition, "group": group, "system": name, "metrics": metrics, "ours_minus": versus})
    return out


def _natural(group: str) -> tuple[float, str]:
    number = group.split(" ")[0]
    try:
        return float(number), group
    except ValueError:
        return 0.0, group
