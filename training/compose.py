"""Accompaniments: random songs written for MMA (Musical MIDI Accompaniment), split into stems as MIDI files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from edge.errors import EdgeError
from edge.training.packages import Package

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
NAMES = "C Db D Eb E F Gb G Ab A Bb B".split()
# Degrees (from 0) of four-bar progressions; the triad on each degree follows from the scale.
PROGRESSIONS = {
    "major": ["0 4 5 3", "0 5 3 4", "5 3 0 4", "0 3 4 3", "0 5 1 4", "0 2 3 4", "1 4 0 5", "0 3 0 4", "3 4 2 5"],
    "minor": ["0 5 2 6", "0 3 5 4", "0 6 5 4", "0 5 3 4", "0 2 6 3", "0 3 0 4", "5 6 0 0", "0 4 5 3"],
}
DRUM_KITS = (0, 0, 0, 8, 16, 24, 25, 32, 40)
CHORD_PROGRAMS = tuple(range(0, 8)) + tuple(range(16, 32)) + tuple(range(48, 53)) + (61, 62, 63) + tuple(range(88, 96))
LINE_PROGRAMS = tuple(range(56, 60)) + tuple(range(64, 76)) + tuple(range(80, 88)) + (11, 12, 26, 29, 30, 40, 41, 42)


@dataclass(frozen=True)
class Score:
    """One accompaniment. `midi` maps stem to a MIDI file; times are in seconds."""

    midi: dict[str, Path]
    beat: float
    tonic: int  # pitch class
    scale: tuple[int, ...]
    seconds: float
    groove: str


def grooves(package: Package) -> dict[str, list[str]]:
    """Names of the 4/4 grooves by library file, e.g. {"stdlib/swing": ["Swing", ...]}."""
    library = package.root / "usr/share/mma/lib"
    found = {}
    for path in sorted((library / "stdlib").glob("*.mma")):
        text = path.read_text(errors="replace")
        times = set(re.findall(r"^\s*time\s+(\S+)", text, re.I | re.M))
        names = re.findall(r"^\s*defgroove\s+(\S+)", text, re.I | re.M)
        names = [n for n in names if not re.search(r"intro|end|fill", n, re.I)]
        if times == {"4"} and names:
            found[f"stdlib/{path.stem}"] = names
    return found


def compose(
    package: Package, use: str, names: list[str], seconds: float, rng: np.random.Generator, work: Path
) -> Score:
    """Write a song of at least `seconds` in grooves of library file `use`; raises EdgeError when MMA refuses it."""
    tempo, tonic = int(rng.integers(72, 165)), int(rng.integers(12))
    mode = "major" if rng.random() < 0.6 else "minor"
    scale = MAJOR if mode == "major" else MINOR
    beat, bars = 60 / tempo, int(np.ceil(seconds * tempo / 240)) + 1
    lines = [f"RndSeed {int(rng.integers(1 << 30))}", f"Use {use}", f"Tempo {tempo}"]  # MMA plays with human errors
    progression: list[int] = []
    for bar in range(bars):
        if bar % 8 == 0:
            lines.append(f"Groove {rng.choice(names)}")
            progression = [int(d) for d in str(rng.choice(PROGRESSIONS[mode])).split()]
        lines.append(f"{bar + 1} {_chord(tonic, scale, progression[bar % 4], rng)}")
    song, full = work / "song.mma", work / "song.mid"
    song.write_text("\n".join(lines) + "\n")
    _mma(package, song, full)
    return Score(_stems(full, scale, tonic, beat, bars, rng, work), beat, tonic, scale, seconds, use)


def _chord(tonic: int, scale: tuple[int, ...], degree: int, rng: np.random.Generator) -> str:
    pitch = [scale[(degree + step) % 7] + 12 * ((degree + step) // 7) for step in (0, 2, 4, 6)]
    third, fifth, seventh = (p - pitch[0] for p in pitch[1:])
    kind = {(4, 7): "", (3, 7): "m", (3, 6): "dim"}.get((third, fifth), "")
    if rng.random() < 0.3 and kind != "dim":
        kind += "7" if seventh == 10 else "M7" if not kind else ""
    return NAMES[(tonic + pitch[0]) % 12] + kind


def _mma(package: Package, song: Path, out: Path) -> None:
    home = package.root / "usr/share/mma"
    program = home / "mma.py"
    if not program.exists():  # MMA looks for its modules beside the program or in /usr/share only
        shutil.copy(package.root / "usr/bin/mma", program)
        (home / "plugins").mkdir(exist_ok=True)
    command = [sys.executable, str(program.resolve()), "-w", "-f", str(out), str(song)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        raise EdgeError(f"MMA cannot play {song}: {' '.join(done.stdout.split())[:200]}")


def _stems(
    full: Path, scale, tonic: int, beat: float, bars: int, rng: np.random.Generator, work: Path
) -> dict[str, Path]:
    midi = mido.MidiFile(full)
    groups: dict[str, list[mido.MidiTrack]] = {"drums": [], "bass": [], "other": []}
    for track in midi.tracks[1:]:
        channels = {m.channel for m in track if hasattr(m, "channel")}
        bass = re.match(r"bass|walk", track.name, re.I)
        stem = "drums" if 9 in channels else "bass" if bass else "other"
        if any(m.type == "note_on" for m in track):
            groups[stem].append(_revoiced(track, stem, rng))
    if rng.random() < 0.6:
        groups["other"].append(_line(scale, tonic, bars, midi.ticks_per_beat, rng))
    paths = {}
    for stem, tracks in groups.items():
        part = mido.MidiFile(ticks_per_beat=midi.ticks_per_beat)
        part.tracks.extend([midi.tracks[0], *tracks])
        paths[stem] = work / f"{stem}.mid"
        part.save(paths[stem])
    return paths


def _revoiced(track: mido.MidiTrack, stem: str, rng: np.random.Generator) -> mido.MidiTrack:
    """The track with another instrument of its family, half of the time."""
    choices = {"drums": DRUM_KITS, "bass": tuple(range(32, 40)), "other": CHORD_PROGRAMS}[stem]
    program = int(rng.choice(choices)) if stem != "other" or rng.random() < 0.6 else None
    pan = int(np.clip(rng.normal(64, 22 if stem == "other" else 4), 5, 122))
    channel = next(m.channel for m in track if hasattr(m, "channel"))
    out = mido.MidiTrack([mido.Message("control_change", channel=channel, control=10, value=pan)])
    for message in track:
        if message.type == "program_change" and program is not None:
            message = message.copy(program=program)
        if message.type == "control_change" and message.control == 10:
            message = message.copy(value=pan)
        out.append(message)
    return out


def melody(
    scale, tonic: int, bars: int, low: float, high: float, rng: np.random.Generator
) -> list[tuple[float, float, int]]:
    """A random tune: (start, length, MIDI pitch) in beats, in two-bar phrases with breaths between them."""
    pitches = [p for p in range(int(np.ceil(low)), int(high) + 1) if (p - tonic) % 12 in scale]
    position, notes = len(pitches) // 2, []
    for phrase in range(0, bars * 4 - 7, 8):
        if rng.random() < 0.2:
            continue
        time, end = phrase + float(rng.choice([0, 0, 0.5, 1])), phrase + float(rng.choice([6, 7, 7.5]))
        while time < end:
            length = min(float(rng.choice([0.5, 0.5, 1, 1, 1.5, 2])), end - time)
            position = int(np.clip(position + rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3]), 0, len(pitches) - 1))
            notes.append((time, length, pitches[position]))
            time += length
    return notes


def _line(scale, tonic: int, bars: int, ticks: int, rng: np.random.Generator) -> mido.MidiTrack:
    low = int(rng.integers(55, 70))
    events = [(0.0, mido.Message("program_change", channel=8, program=int(rng.choice(LINE_PROGRAMS))))]
    events.append((0.0, mido.Message("control_change", channel=8, control=10, value=int(rng.integers(30, 98)))))
    for start, length, pitch in melody(scale, tonic, bars, low, low + 15, rng):
        velocity = int(rng.integers(60, 110))
        events.append((start, mido.Message("note_on", channel=8, note=pitch, velocity=velocity)))
        events.append((start + length * 0.95, mido.Message("note_off", channel=8, note=pitch)))
    track, now = mido.MidiTrack(), 0
    for beats, message in sorted(events, key=lambda e: e[0]):
        tick = round(beats * ticks)
        track.append(message.copy(time=tick - now))
        now = tick
    return track
