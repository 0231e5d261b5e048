"""Separators side by side on held-out songs: ours, the mixture as it is, and Spleeter for the vocals."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from edge.benchmarks.peers.client import start
from edge.benchmarks.quality.enhancer import write_audio
from edge.benchmarks.quality.metrics import stem_scores
from edge.benchmarks.quality.systems import Scores, System
from edge.errors import EdgeError, InputError
from edge.metrics import sdr, si_sdr
from edge.training.shards import SCALE, open_shard, read_manifest
from edge.training.songs import RATE, STEMS

MIXTURE = System("input", "mixture", "0")
BEST_GAIN = System("best-gain", "mixture, best gain (oracle)", "0")
SOURCES = (*STEMS, "accompaniment")  # the last: everything but the vocals, which Spleeter gives too
SILENT = 1e-7  # mean power below which a stem has no SDR
GUITAR_SECONDS = 30

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Song:
    """A held-out song: stems float32 (4, 2, n) in the order of STEMS; the mixture is their sum."""

    name: str
    stems: np.ndarray

    @property
    def mix(self) -> np.ndarray:
        return self.stems.sum(axis=0)

    def reference(self, source: str) -> np.ndarray:
        return self.stems[:3].sum(axis=0) if source == "accompaniment" else self.stems[STEMS.index(source)]


@dataclass(frozen=True)
class Stem:
    """One source of one song, as the tables count it."""

    condition: str
    key: str
    group: str = ""


def held_out_songs(folder: Path, count: int) -> list[tuple[str, np.ndarray]]:
    """Names and int16 maps (4, 2, n) of the first `count` songs of the test split. InputError where there are none."""
    items = [item for item in read_manifest(folder) if item.split == "test"][:count]
    if not items:
        raise InputError(f"{folder} has no songs in its test split")
    return [(item.group, open_shard(folder, item)) for item in items]


def load_song(name: str, stored: np.ndarray) -> Song:
    """A song as float32."""
    return Song(name, stored.astype(np.float32) / np.float32(SCALE))


def run_separators(
    systems: Sequence[System],
    songs: Sequence[tuple[str, np.ndarray]],
    scores: Scores,
    listen: Path | None = None,
    listen_to: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> tuple[list[Stem], list[str]]:
    """Score every system on every song into `scores`; returns what was scored, and a line for each that failed.

    `listen`, `listen_to` and `progress` as in `run_systems`.
    """
    stems, failed = _stems(songs), []
    for system in systems:
        try:
            if system.launch is None:
                _run_all(system, None, songs, stems, scores, listen, listen_to, progress)
            else:
                with start(system.launch) as process:
                    _run_all(system, process, songs, stems, scores, listen, listen_to, progress)
        except EdgeError as error:
            failed.append(str(error))
    return [stem for group in stems.values() for stem in group.values()], failed


def _stems(songs: Sequence[tuple[str, np.ndarray]]) -> dict[str, dict[str, Stem]]:
    """What can be scored: a silent stem has no SDR."""
    out: dict[str, dict[str, Stem]] = {}
    for name, stored in songs:
        song = load_song(name, stored)
        digest = f"{zlib.crc32(np.ascontiguousarray(stored).tobytes()):08x}"
        out[name] = {
            source: Stem(source, f"{name}-{source}-{digest}")
            for source in SOURCES
            if np.mean(song.reference(source) ** 2) > SILENT
        }
    return out


def _run_all(system, process, songs, stems, scores, listen, listen_to, progress) -> None:
    for name, stored in songs:
        wanted = listen is not None and name in listen_to
        known = [scores.get(system, stem.key) for stem in stems[name].values()]
        if wanted or all(k is None for k in known):
            song = load_song(name, stored)
            estimates = _estimates(system, process, song)
            found = {s: stem_scores(song.reference(s), e, RATE) for s, e in estimates.items() if s in stems[name]}
            for source, values in found.items():
                scores.add(system, stems[name][source].key, values)
            if wanted:
                for source, estimate in estimates.items():
                    write_audio(listen / system.name / f"{name}-{source}.flac", estimate, RATE)
        progress(system.title)


def _estimates(system: System, process, song: Song) -> dict[str, np.ndarray]:
    if process is None:
        out = {}
        for source in SOURCES:
            reference = song.reference(source)
            gain = np.sum(song.mix * reference) / np.sum(song.mix**2) if system is BEST_GAIN else 1.0
            out[source] = song.mix * np.float32(gain)
        return out
    given = dict(zip(process.about["sources"], process.run(song.mix, RATE), strict=True))
    if "accompaniment" not in given:
        given["accompaniment"] = np.sum([e for name, e in given.items() if name != "vocals"], axis=0)
    return {source: given[source] for source in SOURCES if source in given}


def guitar_pairs(packages: Path) -> list[tuple[str, Path, Path]]:
    """Real songs as (name, guitar file, file of the rest), from an unpacked fretsonfire-songs-* package."""
    return [
        (guitar.parent.name, guitar, guitar.with_name("song.ogg"))
        for guitar in sorted(packages.glob("fretsonfire-songs-*/**/guitar.ogg"))
        if guitar.with_name("song.ogg").is_file()
    ]


def guitar_report(system: System, pairs: Sequence[tuple[str, Path, Path]]) -> list[dict[str, Any]]:
    """Whether a separator holds on real music, of which only guitar and rest are known (GUITAR_SECONDS of each).

    For each song: SI-SDR of `other` against the guitar, beside the mixture's; the share of the guitar that `other`
    holds, by projection; and the SDR of the sum of the stems against the mixture.
    """
    out = []
    assert system.launch is not None
    with start(system.launch) as process:
        for name, guitar_file, rest_file in pairs:
            guitar, rest = (_excerpt(path) for path in (guitar_file, rest_file))
            length = min(guitar.shape[1], rest.shape[1])
            guitar, rest = guitar[:, :length], rest[:, :length]
            mix = guitar + rest
            gain = np.float32(min(1.0, 0.99 / max(np.abs(mix).max(), 1e-6)))
            guitar, mix = guitar * gain, mix * gain
            stems = dict(zip(process.about["sources"], process.run(mix, RATE), strict=True))
            share = float(np.sum(stems["other"] * guitar) / max(np.sum(guitar**2), 1e-12))
            out.append(
                {
                    "song": name,
                    "mixture_si_sdr": round(si_sdr(guitar.reshape(-1), mix.reshape(-1)), 2),
                    "other_si_sdr": round(si_sdr(guitar.reshape(-1), stems["other"].reshape(-1)), 2),
                    "guitar_in_other": round(share, 3),
                    "sum_sdr": round(sdr(mix, np.sum(list(stems.values()), axis=0)), 2),
                }
            )
    return out


def _excerpt(path: Path) -> np.ndarray:
    """float32 (2, n) from a third of the song on."""
    with soundfile.SoundFile(path) as file:
        start_at = min(file.frames // 3, max(0, file.frames - GUITAR_SECONDS * file.samplerate))
        file.seek(start_at)
        audio = file.read(GUITAR_SECONDS * file.samplerate, dtype="float32", always_2d=True)
        rate = file.samplerate
    audio = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio[:, :2]
    return (audio if rate == RATE else soxr.resample(audio, rate, RATE)).T.astype(np.float32)
