"""Separators side by side on held-out songs: ours, the mixture as it is, and Spleeter for the vocals."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
import soxr

from edge.benchmarks.peers.client import Process, start
from edge.benchmarks.quality.judging import Part
from edge.benchmarks.quality.metrics import stem_scores
from edge.benchmarks.quality.systems import System
from edge.errors import InputError
from edge.metrics import sdr, si_sdr
from edge.training.shards import SCALE, open_shard, read_manifest
from edge.training.songs import RATE, STEMS

MIXTURE = System("input", "mixture", "0")
BEST_GAIN = System("best-gain", "mixture, best gain (oracle)", "0")
SOURCES = (*STEMS, "accompaniment")  # the last: everything but the vocals, which Spleeter gives too
SILENT = 1e-7  # mean power below which a stem has no SDR
GUITAR_SECONDS = 30


@dataclass(frozen=True)
class Song:
    """A held-out song: int16 (4, 2, n) in the order of STEMS; the mixture is their sum."""

    name: str
    stored: np.ndarray
    rate: ClassVar[int] = RATE

    @property
    def mix(self) -> np.ndarray:
        """float32 (2, n)."""
        return self._sum(slice(None))

    def source(self, name: str) -> np.ndarray:
        """float32 (2, n), of one of SOURCES."""
        return self._sum(slice(3)) if name == SOURCES[-1] else self._sum([STEMS.index(name)])

    def _sum(self, chosen: slice | list[int]) -> np.ndarray:
        return self.stored[chosen].sum(axis=0, dtype=np.float32) / np.float32(SCALE)

    @functools.cached_property
    def parts(self) -> list[Part]:
        """The sources that can be scored: a silent one has no SDR."""
        digest = f"{zlib.crc32(np.ascontiguousarray(self.stored).tobytes()):08x}"
        heard = [source for source in SOURCES if np.mean(self.source(source) ** 2) > SILENT]
        return [Part(s, "", f"{self.name}-{s}-{digest}", f"{self.name}-{s}") for s in heard]

    def reference(self, part: Part) -> np.ndarray:
        return self.source(part.condition)

    def estimates(self, system: System, process: Process | None) -> dict[str, np.ndarray]:
        mix = self.mix
        if process is None:
            best = {s: np.sum(mix * self.source(s)) / np.sum(mix**2) if system is BEST_GAIN else 1.0 for s in SOURCES}
            return {source: mix * np.float32(gain) for source, gain in best.items()}
        given = dict(zip(process.about["sources"], process.run(mix, RATE), strict=True))
        if SOURCES[-1] not in given:
            given[SOURCES[-1]] = np.sum([e for name, e in given.items() if name != "vocals"], axis=0)
        return given

    def scoring(self, part: Part, estimate: np.ndarray) -> tuple[Any, ...]:
        return stem_scores, self.reference(part), estimate, RATE


def held_out_songs(folder: Path, count: int) -> list[Song]:
    """The first `count` songs of the test split. InputError where there are none."""
    items = [item for item in read_manifest(folder) if item.split == "test"][:count]
    if not items:
        raise InputError(f"{folder} has no songs in its test split")
    return [Song(item.group, open_shard(folder, item)) for item in items]


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
