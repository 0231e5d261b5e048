"""Test sets of speech: pairs of degraded and clean clips at 16 kHz, each determined by the seed, its condition and
number, so that a larger set begins with the smaller one."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import fftconvolve

from edge.audio import AudioReader
from edge.benchmarks.quality.rooms import RATE, evaluation_rooms
from edge.errors import InputError
from edge.training.mixing import mix_at_snr, without_upper_band
from edge.training.shards import SCALE, open_shard, read_manifest
from edge.training.speech import AUDIO

SNRS_DB = (-5, 0, 5, 10, 15, 20)
SECONDS = 5.0
LONGEST = 10.0  # seconds of a user's file that are used
LEVELS_DBFS = (-10, -20, -30, -40, -50, -60)  # peaks
CONDITIONS = ("noise", "babble", "reverb", "noise+reverb", "band-limited", "silence", "noise alone", "clean", "levels")


@dataclass(frozen=True)
class Clip:
    """One test file: float32 (n,) each. `group` is its SNR where that varies. Scores skip the first `skip` samples."""

    name: str
    condition: str
    group: str
    noisy: np.ndarray
    clean: np.ndarray
    skip: int = 0

    @property
    def key(self) -> str:
        """Changes when the audio does."""
        return f"{self.name}-{zlib.crc32(self.noisy.tobytes() + self.clean.tobytes()):08x}"


@dataclass(frozen=True)
class Corpus:
    """Voices and noises to draw from, (n,) each, int16 or float32. `whole`: clip k is voice k, not a random cut."""

    voices: Sequence[np.ndarray]
    noises: Sequence[np.ndarray]
    whole: bool = False
    odds: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        weights = np.sqrt([len(v) for v in self.voices])
        object.__setattr__(self, "odds", weights / weights.sum())

    def voice(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """float32 (n,): 5 s of one speaker, or a user's file up to 10 s."""
        if self.whole:
            voice = self.voices[number % len(self.voices)]
            return _float(voice[: int(LONGEST * RATE)])
        voice = self.voices[rng.choice(len(self.voices), p=self.odds)]
        return _cut(voice, int(SECONDS * RATE), rng)

    def noise(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        """float32 (samples,) of recorded noise; a short recording repeats, a silent cut is drawn again."""
        weights = np.sqrt([len(n) for n in self.noises])
        for _ in range(100):
            noise = self.noises[rng.choice(len(self.noises), p=weights / weights.sum())]
            cut = np.resize(_cut(noise, min(samples, len(noise)), rng), samples)
            if np.mean(cut**2) > 1e-8:
                return cut
        raise InputError("the noises are silent")

    def babble(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        """Five voices at once."""
        cuts = [self.voices[k] for k in rng.choice(len(self.voices), size=5, p=self.odds)]
        return np.sum([np.resize(_cut(v, min(samples, len(v)), rng), samples) for v in cuts], axis=0)


def held_out(folder: Path) -> Corpus:
    """The test split of a speech data folder."""
    items = [item for item in read_manifest(folder) if item.split == "test"]
    opened = {kind: [open_shard(folder, i) for i in items if i.kind == kind] for kind in ("speech", "noise")}
    voices = [v for v in opened["speech"] if len(v) >= SECONDS * RATE]
    if not voices or not opened["noise"]:
        raise InputError(f"{folder} has no voices of {SECONDS:g} s or no noises in its test split")
    return Corpus(voices, opened["noise"])


def from_folders(clean: Path, noise: Path) -> Corpus:
    """Audio files of any rate and channel count; voices under half a second are left out."""
    voices = [v for v in (load_mono(p) for p in audio_files(clean)) if len(v) >= RATE // 2 and np.abs(v).max() > 1e-4]
    if not voices:
        raise InputError(f"{clean} has no voice of half a second or more that is not silent")
    return Corpus(voices, [load_mono(p) for p in audio_files(noise)], whole=True)


def clips(corpus: Corpus, conditions: Sequence[str], files: int, seed: int, rooms: Path) -> Iterator[Clip]:
    """`files` clips of each condition; `rooms` is the folder where simulated rooms are kept."""
    for condition in conditions:
        for number in range(files):
            rng = np.random.default_rng([seed, CONDITIONS.index(condition), number])
            yield _clip(corpus, condition, number, rng, rooms)


def _clip(corpus: Corpus, condition: str, number: int, rng: np.random.Generator, rooms: Path) -> Clip:
    voice = corpus.voice(rng, number)
    snrs = SNRS_DB if condition == "noise" else SNRS_DB[1:5]
    snr, skip, group = snrs[number % len(snrs)], 0, ""
    clean = noisy = voice
    if "reverb" in condition:
        responses, times = evaluation_rooms(rooms)
        k = number % len(responses)
        noisy, clean = (fftconvolve(voice, response)[: len(voice)] for response in responses[k])
        group = f"RT60 {'0.3-0.55' if times[k] < 0.55 else '0.55-0.8'} s"
    if condition in ("noise", "noise+reverb"):
        noisy, group = noisy + mix_at_snr(noisy, corpus.noise(rng, len(noisy)), snr), f"{snr} dB"
    elif condition == "babble":
        noisy, group = noisy + mix_at_snr(noisy, corpus.babble(rng, len(noisy)), snr), f"{snr} dB"
    elif condition == "band-limited":
        noisy = without_upper_band(voice)
    elif condition == "silence":  # 2 s of noisy speech, then digital silence
        talk = voice[: 2 * RATE] + mix_at_snr(voice[: 2 * RATE], corpus.noise(rng, len(voice[: 2 * RATE])), 5)
        noisy, skip = np.concatenate([talk, np.zeros(8 * RATE)]), 3 * RATE
        clean = np.zeros(len(noisy))
    elif condition == "noise alone":
        noise = corpus.noise(rng, 10 * RATE)
        noisy, skip = noise * 10 ** (-45 / 20) / np.sqrt(np.mean(noise**2)), 2 * RATE
        clean = np.zeros(len(noisy))
    peak = max(np.abs(noisy).max(), np.abs(clean).max(), 1e-9)
    gain = min(1.0, 0.99 / peak)
    if condition == "levels":
        level = LEVELS_DBFS[number % len(LEVELS_DBFS)]
        noisy, group = noisy + mix_at_snr(noisy, corpus.noise(rng, len(noisy)), 10), f"{level} dBFS"
        gain = 10 ** (level / 20) / max(np.abs(noisy).max(), np.abs(clean).max(), 1e-9)
    name = f"{condition.replace('+', '-').replace(' ', '-')}-{number:03d}"
    return Clip(name, condition, group, (noisy * gain).astype(np.float32), (clean * gain).astype(np.float32), skip)


def pairs(noisy: Path, clean: Path, files: int | None = None) -> Iterator[Clip]:
    """Recordings of two folders with the same file names (extensions may differ).

    Raises InputError where names or lengths do not match, in one line that names the first file.
    """
    wanted = {_stem(p, clean): p for p in audio_files(clean)}
    given = {_stem(p, noisy): p for p in audio_files(noisy)}
    common = sorted(set(wanted) & set(given))
    if not common:
        first = next(iter(given.values()))
        raise InputError(f"no file of {noisy} has its namesake in {clean} (the first is {first.name})")
    for name in common[:files]:
        one, other = load_mono(given[name]), load_mono(wanted[name])
        if abs(len(one) - len(other)) > max(0.02 * len(other), RATE // 20):
            raise InputError(
                f"{given[name]} lasts {len(one) / RATE:.2f} s, its clean recording {len(other) / RATE:.2f} s; "
                "pairs must be of one length"
            )
        length = min(len(one), len(other), int(LONGEST * RATE))
        yield Clip(name.replace("/", "-"), "pairs", "", one[:length], other[:length])


def write_set(folder: Path, made: Sequence[Clip]) -> None:
    """The set as files: `noisy/NAME.flac` and `clean/NAME.flac`, which `--noisy DIR --clean DIR` reads again."""
    for kind in ("noisy", "clean"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for clip in made:
            path = folder / kind / f"{clip.name}.flac"
            if not path.exists():
                soundfile.write(path, getattr(clip, kind), RATE, subtype="PCM_24")


def load_mono(path: Path) -> np.ndarray:
    """float32 (n,) at 16 kHz of any audio file, channels averaged. Raises InputError for one that cannot be read."""
    with AudioReader(path) as reader:
        mono = np.concatenate([block.mean(axis=1) for block in reader.blocks()])
        rate = reader.sample_rate
    return mono if rate == RATE else soxr.resample(mono, rate, RATE).astype(np.float32)


def audio_files(folder: Path) -> list[Path]:
    """Audio files below a folder in the order of their names; InputError where there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO - {".g722"} and p.is_file())
    if not files:
        raise InputError(f"no audio files in {folder}")
    return files


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _cut(audio: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(len(audio) - samples + 1))
    return _float(audio[start : start + samples])


def _float(audio: np.ndarray) -> np.ndarray:
    return audio.astype(np.float32) / (np.float32(SCALE) if audio.dtype == np.int16 else np.float32(1))
