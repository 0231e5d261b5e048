"""A whole evaluation: which files, which systems, scores, report and page. What `edge-eval` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.benchmarks.documents import write_json
from edge.benchmarks.peers.catalogue import select
from edge.benchmarks.quality import metrics, page, sets
from edge.benchmarks.quality.enhancer import INPUT, rows, run_systems, write_audio
from edge.benchmarks.quality.report import DECIMALS
from edge.benchmarks.quality.separator import (
    BEST_GAIN,
    MIXTURE,
    SOURCES,
    guitar_pairs,
    guitar_report,
    held_out_songs,
    load_song,
    run_separators,
)
from edge.benchmarks.quality.sets import CONDITIONS, Clip
from edge.benchmarks.quality.systems import Scores, System, our_system, peer_systems
from edge.errors import InputError
from edge.training.songs import RATE as SONG_RATE

Progress = Callable[[str], None]
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
    clean: Path | None = None
    noise: Path | None = None
    noisy: Path | None = None
    conditions: str | None = None
    files: int | None = None
    seed: int = 7
    jobs: int = 1
    output: Path | None = None


def evaluate_enhancer(options: Options, command: str, progress: Progress, total: Total) -> dict[str, Any]:
    """The report of an enhancer; with `options.output` the test set, audio, page and report.json are written there.

    Raises InputError for bad folders, files or names before anything is computed.
    """
    metrics.load_metrics()
    systems, missing = _systems(options, "enhance", [INPUT])
    clips, described = _speech_set(options)
    total(len(systems) * len(clips))
    scores = Scores(options.output / "scores.jsonl" if options.output else None)
    shown = _shown(clips)
    listen = options.output / "audio" if options.output else None
    if options.output:
        sets.write_set(options.output / "set", clips)
    names = [clip.name for clip in shown]
    failed = run_systems(systems, clips, scores, options.jobs, listen, names, progress)
    content = _content(options, command, described, systems, missing, failed)
    content["rows"] = rows(systems, clips, scores)
    if options.output is not None and listen is not None:
        scenes = []
        for clip in shown:
            write_audio(listen / "clean" / f"{clip.name}.flac", clip.clean)
            takes: list[page.Take | None] = [page.Take("clean", f"audio/clean/{clip.name}.flac")]
            takes += [_take(options.output, s, clip.name, scores.get(s, clip.key)) for s in systems]
            group = f", {clip.group}" if clip.group else ""
            scenes.append(page.Scene(f"{clip.condition}{group}", [take for take in takes if take]))
        _finish(options.output, "Speech enhancement", content, scenes)
    return content


def evaluate_separator(options: Options, command: str, progress: Progress, total: Total) -> dict[str, Any]:
    """The report of a separator on the held-out songs, and on real guitar pairs where the data folder has them."""
    systems, missing = _systems(options, "separate", [MIXTURE, BEST_GAIN])
    songs = held_out_songs(options.data / "music", options.files or 20)
    total(len(systems) * len(songs))
    scores = Scores(options.output / "scores.jsonl" if options.output else None)
    listen = options.output / "audio" if options.output else None
    shown = [name for name, _ in songs[:2]]
    stems, failed = run_separators(systems, songs, scores, listen, shown, progress)
    described = f"{len(songs)} held-out songs of {options.data.name}/music"
    content = _content(options, command, described, systems, missing, failed)
    content["rows"] = rows(systems, stems, scores)
    pairs = guitar_pairs(options.data / "packages")
    content["guitar"] = guitar_report(systems[0], pairs) if pairs else []
    if not pairs:
        content["missing"].append("no real guitar pairs: unpack Debian's fretsonfire-songs-muldjord in DATA/packages")
    if options.output is not None and listen is not None:
        scenes = []
        takes: list[page.Take | None]
        for name, stored in songs[:2]:
            song = load_song(name, stored)
            by_source = {stem.condition: stem for stem in stems if stem.key.startswith(f"{name}-")}
            write_audio(listen / "mixture" / f"{name}.flac", song.mix, SONG_RATE)
            for source in SOURCES:
                write_audio(listen / "true" / f"{name}-{source}.flac", song.reference(source), SONG_RATE)
                takes = [page.Take("mixture", f"audio/mixture/{name}.flac")]
                takes.append(page.Take(f"true {source}", f"audio/true/{name}-{source}.flac"))
                for system in systems:
                    if system.launch is not None and source in by_source:
                        found = scores.get(system, by_source[source].key)
                        takes.append(_take(options.output, system, f"{name}-{source}", found))
                scenes.append(page.Scene(f"{name}, {source}", [take for take in takes if take]))
        _finish(options.output, "Music separation", content, scenes)
    return content


def _systems(options: Options, task: str, inputs: Sequence[System]) -> tuple[list[System], list[str]]:
    ours = our_system(options.model, options.checkpoint, options.bundle, options.backend or "")
    # peers without weights have a speed, not a quality
    peers, missing = peer_systems([peer for peer in select(options.peers, task) if peer.weights])
    return [ours, *inputs, *peers], missing


def _speech_set(options: Options) -> tuple[list[Clip], str]:
    if options.noisy is not None and options.clean is not None:
        return list(sets.pairs(options.noisy, options.clean, options.files)), f"pairs of {options.noisy.name}"
    conditions = [c.strip() for c in options.conditions.split(",")] if options.conditions else list(CONDITIONS)
    unknown = [c for c in conditions if c not in CONDITIONS]
    if unknown:
        raise InputError(f"unknown condition {unknown[0]!r}; known: {', '.join(CONDITIONS)}")
    if options.clean is not None and options.noise is not None:
        corpus, rooms = sets.from_folders(options.clean, options.noise), options.output or Path("build")
        described = f"{len(corpus.voices)} files of {options.clean.name} with noises of {options.noise.name}"
    else:
        corpus, rooms = sets.held_out(options.data / "speech"), options.data
        described = (
            f"test split of {options.data.name}/speech: {len(corpus.voices)} speakers, {len(corpus.noises)} noises"
        )
    return list(sets.clips(corpus, conditions, options.files or 60, options.seed, rooms)), described


def _shown(clips: Sequence[Clip]) -> list[Clip]:
    """Two of the noisy clips and one of each other condition."""
    out: list[Clip] = []
    for condition in dict.fromkeys(clip.condition for clip in clips):
        own = [clip for clip in clips if clip.condition == condition]
        out += own[1:4:2] if condition in ("noise", "pairs") and len(own) > 3 else own[:1]
    return out


def _take(folder: Path, system: System, name: str, found: dict[str, Any] | None) -> page.Take | None:
    file = f"audio/{system.name}/{name}.flac"
    if not (folder / file).exists():
        return None
    shown = [
        f"{metrics.UNITS[key].split(' ')[0]} {value:.{DECIMALS.get(key, 1)}f}"
        for key, value in (found or {}).items()
        if value is not None and key in ("pesq", "si_sdr", "sdr", "lsd", "residual")
    ]
    return page.Take(system.title, file, ", ".join(shown[:2]))


def _content(options: Options, command: str, described: str, systems, missing, failed) -> dict[str, Any]:
    listed = [{"name": s.name, "title": s.title, "key": s.key, "about": s.about} for s in systems]
    content = {"model": options.model, "command": command, "data": described, "seed": options.seed, "systems": listed}
    return content | {"missing": list(missing), "failed": failed}


def _finish(folder: Path, title: str, content: dict[str, Any], scenes: Sequence[page.Scene]) -> None:
    write_json(content, folder / "report.json")
    page.write_page(folder, title, content, scenes)
