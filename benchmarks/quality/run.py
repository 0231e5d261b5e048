"""A whole evaluation: which files, which systems, scores, report and page. What `edge-eval` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.benchmarks.documents import write_json
from edge.benchmarks.peers.catalogue import select
from edge.benchmarks.quality import metrics, sets
from edge.benchmarks.quality.enhancer import INPUT, Clip
from edge.benchmarks.quality.judging import Progress, Test, rows, run_systems, write_audio
from edge.benchmarks.quality.page import Take, write_page
from edge.benchmarks.quality.report import DECIMALS
from edge.benchmarks.quality.separator import BEST_GAIN, MIXTURE, guitar_pairs, guitar_report, held_out_songs
from edge.benchmarks.quality.sets import CONDITIONS
from edge.benchmarks.quality.systems import Scores, System, our_system, peer_systems
from edge.errors import InputError

Total = Callable[[int], None]


@dataclass(frozen=True)
class Options:
    """What `edge-eval` was asked for; the fields are its options."""

    model: str
    checkpoint: Path | None = None
    bundle: Path | None = None
    backend: str | None = None
    peers: str = "all"
    data: Path = Path("data")
    clean: Sequence[Path] = ()
    noise: Path | None = None
    noisy: Path | None = None
    conditions: str | None = None
    files: int | None = None
    seed: int = 7
    jobs: int = 1
    output: Path | None = None


def evaluate(options: Options, command: str, progress: Progress, total: Total) -> dict[str, Any]:
    """The report of an enhancer, or of a separator on the held-out songs and on real guitar pairs, where there are any.

    With `options.output` audio, page and report.json are written there, and the test set of an enhancer. Raises
    InputError for bad folders, files or names before anything is computed.
    """
    speech = options.model == "enhancer"
    if speech:
        metrics.load_metrics()
    systems, missing = _systems(options, *(("enhance", [INPUT]) if speech else ("separate", [MIXTURE, BEST_GAIN])))
    tests, shown, described = _speech_set(options) if speech else _song_set(options)
    total(len(systems) * len(tests))
    scores = Scores(options.output / "scores.jsonl" if options.output else None)
    listen = options.output / "audio" if options.output else None
    failed = run_systems(systems, tests, scores, options.jobs, listen, shown, progress)
    listed = [{"name": s.name, "title": s.title, "key": s.key, "about": s.about} for s in systems]
    content = {"model": options.model, "command": command, "data": described, "seed": options.seed, "systems": listed}
    content |= {"missing": missing, "failed": failed}
    content["rows"] = rows(systems, [part for test in tests for part in test.parts], scores)
    if not speech:
        pairs = guitar_pairs(options.data / "packages")
        content["guitar"] = guitar_report(systems[0], pairs) if pairs else []
        if not pairs:
            missing.append("no real guitar pairs: unpack Debian's fretsonfire-songs-muldjord in DATA/packages")
    if options.output is not None:
        write_json(content, options.output / "report.json")
        scenes = _scenes(options.output, systems, shown, scores)
        write_page(options.output, "Speech enhancement" if speech else "Music separation", content, scenes)
    return content


def _systems(options: Options, task: str, inputs: Sequence[System]) -> tuple[list[System], list[str]]:
    ours = our_system(options.model, options.checkpoint, options.bundle, options.backend or "")
    # peers without weights have a speed, not a quality
    peers, missing = peer_systems([peer for peer in select(options.peers, task) if peer.weights])
    return [ours, *inputs, *peers], missing


def _speech_set(options: Options) -> tuple[Sequence[Test], Sequence[Test], str]:
    """The clips, those of the page, and what they are."""
    clips, described = _clips(options)
    if options.output:
        sets.write_set(options.output / "set", clips)
    shown: list[Clip] = []  # two of the noisy clips and one of each other condition
    for condition in dict.fromkeys(clip.condition for clip in clips):
        own = [clip for clip in clips if clip.condition == condition]
        shown += own[1:4:2] if condition in ("noise", "pairs") and len(own) > 3 else own[:1]
    return clips, shown, described


def _song_set(options: Options) -> tuple[Sequence[Test], Sequence[Test], str]:
    songs = held_out_songs(options.data / "music", options.files or 20)
    return songs, songs[:2], f"{len(songs)} held-out songs of {options.data.name}/music"


def _clips(options: Options) -> tuple[list[Clip], str]:
    if options.noisy is not None:
        return list(sets.pairs(options.noisy, options.clean[0], options.files)), f"pairs of {options.noisy.name}"
    # a long stream is an hour: only where it is asked for
    conditions = [c.strip() for c in options.conditions.split(",")] if options.conditions else list(CONDITIONS[:-1])
    unknown = [c for c in conditions if c not in CONDITIONS]
    if unknown:
        raise InputError(f"unknown condition {unknown[0]!r}; known: {', '.join(CONDITIONS)}")
    if options.noise is not None:
        corpus, rooms = sets.from_folders(options.clean, options.noise), options.output or Path("build")
        names = ", ".join(folder.name for folder in options.clean)
        described = f"{len(corpus.voices)} files of {names} with noises of {options.noise.name}"
    else:
        corpus, rooms = sets.held_out(options.data / "speech"), options.data
        described = f"test split of {rooms.name}/speech: {len(corpus.voices)} speakers, {len(corpus.noises)} noises"
    return list(sets.clips(corpus, conditions, options.files or 60, options.seed, rooms)), described


def _scenes(folder: Path, systems: Sequence[System], shown: Sequence[Test], scores: Scores) -> dict[str, list[Take]]:
    scenes = {}
    for test in shown:
        for part in test.parts:
            file = f"audio/reference/{part.file}.flac"
            write_audio(folder / file, test.reference(part), test.rate)
            takes = [Take("reference", file)]
            for system in systems:
                file = f"audio/{system.name}/{part.file}.flac"
                if (folder / file).exists():
                    takes.append(Take(system.title, file, _caption(scores.get(system, part.key) or {})))
            scenes[f"{part.file}{part.group and ', '}{part.group}"] = takes
    return scenes


def _caption(found: dict[str, Any]) -> str:
    shown = [
        f"{metrics.UNITS[key].split(' ')[0]} {value:.{DECIMALS.get(key, 1)}f}"
        for key, value in found.items()
        if value is not None and key in ("pesq", "si_sdr", "sdr", "lsd", "residual")
    ]
    return ", ".join(shown[:2])
