"""Rendered songs: four true stems at 44.1 kHz stereo, one shard a song, every song from its own seed.

Song `i` depends on `i` alone: rendering can stop and go on, and more songs can be added later. Songs with
i % 10 == 0 are for test and i % 10 == 5 for validation; these use grooves and voices that training never has.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, fftconvolve, sosfilt
from tqdm import tqdm

from edge.errors import EdgeError, InputError
from edge.training import compose, speech, vocals
from edge.training.packages import Package, fetch
from edge.training.shards import Item, write_manifest, write_shard

RATE = 44100
STEMS = ("drums", "bass", "other", "vocals")
SECONDS = 36.0
LEVELS_DB = {"drums": -20.0, "bass": -21.0, "other": -20.0, "vocals": -19.0}


def split_of(index: int) -> str:
    """Split of song `index`."""
    return {0: "test", 5: "validation"}.get(index % 10, "train")


def build(out: Path, songs: int, start: int = 0) -> None:
    """Render songs `start` to `songs` into `out/music`, skipping those already there; manifest after each."""
    if shutil.which("fluidsynth") is None:
        raise InputError("fluidsynth not found: apt-get install fluidsynth")
    cache, folder = out / "packages", out / "music"
    package, font_package = fetch("mma", cache), fetch("fluid-soundfont-gm", cache)
    font = font_package.root / "usr/share/sounds/sf2/FluidR3_GM.sf2"
    voices = [fetch(name, cache) for name in ("tuxpaint-stamps-default", "klettres-data", "ktuberling-data")]
    libraries, singers = compose.grooves(package), _singers(voices)
    dealt = speech.deal(libraries)
    for index in tqdm(range(start, songs), desc="songs", unit="song"):
        if not (folder / f"song-{index:04d}.npy").exists():
            own = {use: names for use, names in libraries.items() if dealt[use] == split_of(index)}
            write_shard(folder, f"song-{index:04d}", render(index, package, font, own, singers[split_of(index)]))
        _describe(folder, [package, font_package, *voices])


def render(
    index: int, package: Package, font: Path, libraries: dict[str, list[str]], singers: dict[str, list[Path]]
) -> np.ndarray:
    """Stems of song `index`: float32 (4, 2, N)."""
    rng = np.random.default_rng([7, index])
    length = int(SECONDS * RATE)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for _ in range(20):
            use = str(rng.choice(list(libraries)))
            try:
                score = compose.compose(package, use, libraries[use], SECONDS, rng, work)
            except EdgeError:  # some grooves cannot play some chords
                continue
            stems = [_synthesise(score.midi[s], font, length, rng, work) for s in STEMS[:3]]
            if all(np.abs(s).max() > 1e-3 for s in stems):
                break
        else:
            raise EdgeError(f"song {index}: no groove gave drums, bass and chords in 20 tries")
    stems.append(_vocals(score, singers, length, rng))
    return _mix(np.stack(stems), rng)


def add_folder(out: Path, root: Path) -> None:
    """Song folders in the layout of MUSDB18-HQ (`train/NAME/{drums,bass,other,vocals}.wav`, `test/...`)."""
    folder, items = out / "music", []
    songs = sorted(p.parent for p in root.rglob("vocals.wav"))
    if len(songs) < 3:
        raise InputError(f"{root} has {len(songs)} song folders with vocals.wav; at least 3 are needed")
    named = any("test" in s.relative_to(root).parts for s in songs)
    dealt = speech.deal(str(s) for s in songs)
    for song in tqdm(songs, desc="songs", unit="song"):
        split = dealt[str(song)]
        if named:  # keep the official test set; every tenth training song validates
            split = "test" if "test" in song.relative_to(root).parts else split.replace("test", "train")
        audio = np.stack([_stereo(song / f"{stem}.wav") for stem in STEMS])
        file = write_shard(folder, f"user-{song.name}", audio)
        items.append(Item(file, "song", split, song.name, "user", "", "user", audio.shape[-1] / RATE))
    write_manifest(folder, "music", RATE, items)


def _describe(folder: Path, packages: list[Package]) -> None:
    names, versions, licenses = (
        " + ".join(getattr(p, key) for p in packages) for key in ("name", "version", "license")
    )
    items = []
    for path in sorted(folder.glob("song-*.npy")):
        split = split_of(int(path.stem.split("-")[1]))
        items.append(Item(path.name, "song", split, path.stem, names, versions, licenses, SECONDS))
    write_manifest(folder, "music", RATE, items)


def _singers(packages: list[Package]) -> dict[str, dict[str, list[Path]]]:
    tux, klettres, tuberling = packages
    files: dict[str, list[Path]] = {}
    for code in "be fr ro bg ca da".split():
        files[f"tux-{code}"] = sorted(tux.root.glob(f"usr/share/tuxpaint/stamps/**/*_desc_{code}.ogg"))
    for package, where in ((klettres, "klettres/*/*/*"), (tuberling, "ktuberling/sounds/*/*")):
        for path in sorted((package.root / "usr/share").glob(where)):
            if path.suffix in speech.AUDIO:
                language = path.parent.parent.name if package is klettres else path.parent.name
                files.setdefault(f"kde-{language}", []).append(path)
    singers: dict[str, dict[str, list[Path]]] = {"train": {}, "validation": {}, "test": {}}
    for name, paths in files.items():
        if len(paths) >= 20:
            singers[speech.split_of(name)][name] = paths
    return singers


def _synthesise(midi: Path, font: Path, length: int, rng: np.random.Generator, work: Path) -> np.ndarray:
    wav = work / f"{midi.stem}.wav"
    command = ["fluidsynth", "-ni", "-q", "-r", str(RATE), "-g", "0.6", "-R", str(int(rng.random() < 0.7))]
    command += [
        "-C",
        "0",
        "-o",
        f"synth.reverb.level={rng.uniform(0.1, 0.6):.2f}",
        "-F",
        str(wav),
        str(font),
        str(midi),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not wav.exists():
        raise EdgeError(f"fluidsynth failed on {midi.name}: {done.stderr.strip()[-200:]}")
    return _fit(soundfile.read(wav, dtype="float32", always_2d=True)[0].T, length)


def _vocals(score: compose.Score, singers: dict[str, list[Path]], length: int, rng: np.random.Generator) -> np.ndarray:
    names = sorted(singers)
    weights = np.sqrt([len(singers[n]) for n in names])
    paths = singers[str(rng.choice(names, p=weights / weights.sum()))]
    words, total = [], 0
    for k in rng.permutation(len(paths)):
        audio, rate = soundfile.read(paths[k], dtype="float32", always_2d=True)
        clip = speech.trim(soxr.resample(audio.mean(axis=1), rate, RATE))
        if len(clip) > RATE // 5 and np.abs(clip).max() > 0.01:
            words.append(clip * (0.1 / np.sqrt(np.mean(clip**2))))
            total += len(clip)
        if total > 14 * RATE:
            break
    low = int(rng.integers(50, 58))
    notes = compose.melody(score.scale, score.tonic, int(SECONDS / score.beat / 4), low, low + 14, rng)
    if not words or not notes:
        return np.zeros((2, length), np.float32)
    sung = vocals.sing(np.concatenate(words), RATE, notes, score.beat, length, rng)
    return _room(sung, rng)


def _room(mono: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stereo reverb of decaying noise, different on the two sides, around a centred dry voice."""
    time = np.arange(int(rng.uniform(0.2, 1.2) * RATE)) / RATE
    tail = rng.standard_normal((2, len(time))) * np.exp(-6.9 * time / time[-1])
    tail /= np.sqrt((tail**2).sum(axis=1, keepdims=True))
    wet = np.stack([fftconvolve(mono, side)[: len(mono)] for side in tail]) * rng.uniform(0.05, 0.35)
    pan = rng.uniform(-0.15, 0.15)
    return (mono * np.array([[1 - pan], [1 + pan]]) + wet).astype(np.float32)


def _mix(stems: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Levels, a little tone and drive a stem, and a common gain that keeps the sum below full scale."""
    out = []
    for stem, audio in zip(STEMS, stems, strict=True):
        rms = np.sqrt(np.mean(audio**2)) + 1e-9
        audio = audio / rms * 10 ** ((LEVELS_DB[stem] + rng.uniform(-3, 3)) / 20)
        if rng.random() < 0.5:  # shelf: add or take a filtered part
            band = butter(1, float(rng.uniform(200, 6000)), rng.choice(["low", "high"]), fs=RATE, output="sos")
            audio = audio + rng.uniform(-0.5, 0.7) * sosfilt(band, audio, axis=-1)
        if rng.random() < 0.3:
            drive = rng.uniform(1, 4)
            audio = np.tanh(audio * drive) / drive
        out.append(audio)
    mixed = np.stack(out)
    peak = max(np.abs(mixed.sum(axis=0)).max(), np.abs(mixed).max())
    return (mixed * min(1.0, 0.95 / peak)).astype(np.float32)


def _stereo(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path} not found: a song folder needs {', '.join(STEMS)} as .wav")
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio = audio[:, :2] if audio.shape[1] > 1 else np.repeat(audio, 2, axis=1)
    return (audio if rate == RATE else soxr.resample(audio, rate, RATE)).T


def _fit(audio: np.ndarray, length: int) -> np.ndarray:
    return np.pad(audio[:, :length], ((0, 0), (0, max(0, length - audio.shape[1]))))
