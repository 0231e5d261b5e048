"""Test sets of speech: pairs of degraded and clean clips at 16 kHz, each determined by the seed, its condition and
number, so that a larger set begins with the smaller one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.linalg import solve_toeplitz
from scipy.signal import fftconvolve, istft, lfilter, stft

from edge.audio import AudioReader
from edge.benchmarks.quality.enhancer import Clip
from edge.benchmarks.quality.rooms import RATE, evaluation_rooms
from edge.errors import InputError
from edge.training.mixing import mix_at_snr, without_upper_band
from edge.training.shards import SCALE, open_shard, read_manifest
from edge.training.speech import AUDIO

SNRS_DB = (-5, 0, 5, 10, 15, 20)
SECONDS = 5.0
LONGEST = 10.0  # seconds of a user's file that are used
LEVELS_DBFS = (-10, -20, -30, -40, -50, -60)  # peaks
HISTORY = (0, 1, 10, 59)  # minutes of the same stream before the one that is judged
CONDITIONS = (
    "noise",
    "babble",
    "reverb",
    "noise+reverb",
    "band-limited",
    "silence",
    "noise alone",
    "clean",
    "levels",
    "whisper",
    "long",
)


@dataclass(frozen=True)
class Corpus:
    """Voices and noises to draw from, (n,) each, int16 or float32. `whole`: clip k is voice k, not a random cut.

    kinds: of the voices, one each, where the tables shall go by kind.
    """

    voices: Sequence[np.ndarray]
    noises: Sequence[np.ndarray]
    whole: bool = False
    kinds: Sequence[str] = ()

    def voice(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """float32 (n,): 5 s of one speaker, or a user's file up to 10 s."""
        if self.whole:
            voice = self.voices[number % len(self.voices)]
            return _float(voice[: int(LONGEST * RATE)])
        return _cut(_drawn(self.voices, rng)[0], int(SECONDS * RATE), rng)

    def noise(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        """float32 (samples,) of recorded noise; a short recording repeats, a silent cut is drawn again."""
        for _ in range(100):
            noise = _drawn(self.noises, rng)[0]
            cut = np.resize(_cut(noise, min(samples, len(noise)), rng), samples)
            if np.mean(cut**2) > 1e-8:
                return cut
        raise InputError("the noises are silent")

    def babble(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        """Five voices at once."""
        voices = _drawn(self.voices, rng, 5)
        return np.sum([np.resize(_cut(v, min(samples, len(v)), rng), samples) for v in voices], axis=0)


def held_out(folder: Path) -> Corpus:
    """The test split of a speech data folder."""
    items = [item for item in read_manifest(folder) if item.split == "test"]
    opened = {kind: [open_shard(folder, i) for i in items if i.kind == kind] for kind in ("speech", "noise")}
    voices = [v for v in opened["speech"] if len(v) >= SECONDS * RATE]
    if not voices or not opened["noise"]:
        raise InputError(f"{folder} has no voices of {SECONDS:g} s or no noises in its test split")
    return Corpus(voices, opened["noise"])


def from_folders(clean: Sequence[Path], noise: Path) -> Corpus:
    """Audio files of any rate and channel count; voices under half a second are left out. Several folders of clean
    voices are as many kinds."""
    loaded = [(folder.name, load_mono(path)) for folder in clean for path in audio_files(folder)]
    kept = [(kind, v) for kind, v in loaded if len(v) >= RATE // 2 and np.abs(v).max() > 1e-4]
    if not kept:
        raise InputError(f"{', '.join(map(str, clean))} has no voice of half a second or more that is not silent")
    kinds, voices = zip(*kept, strict=True)
    return Corpus(voices, [load_mono(p) for p in audio_files(noise)], True, kinds if len(clean) > 1 else ())


def clips(corpus: Corpus, conditions: Sequence[str], files: int, seed: int, rooms: Path) -> Iterator[Clip]:
    """`files` clips of each condition; `rooms` is the folder where simulated rooms are kept."""
    for condition in conditions:
        for number in range(files):
            drawn = number // len(HISTORY) if condition == "long" else number
            rng = np.random.default_rng([seed, CONDITIONS.index(condition), drawn])
            yield _clip(corpus, condition, number, rng, rooms)


def _clip(corpus: Corpus, condition: str, number: int, rng: np.random.Generator, rooms: Path) -> Clip:
    if condition == "long":
        return _long(corpus, number, rng)
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
    elif condition == "whisper":
        noisy = clean = whispered(voice, rng)
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
    if corpus.kinds:
        group = corpus.kinds[number % len(corpus.kinds)]
    noisy, clean = ((audio * gain).astype(np.float32) for audio in (noisy, clean))
    usual = not corpus.kinds and condition not in ("band-limited", "whisper")
    return Clip(name, condition, group, noisy, clean, skip, usual)


def _long(corpus: Corpus, number: int, rng: np.random.Generator) -> Clip:
    """A minute of voices in noise behind the minutes of HISTORY, each minute with its own noise and SNR.

    Clips of one `rng` differ in what comes before and end with the same minute, so that only the past can matter.
    """
    minutes, minute = HISTORY[number % len(HISTORY)], 60 * RATE
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(minutes + 1):
        voice = np.zeros(0, np.float32)
        while len(voice) < minute:
            voice = np.concatenate([voice, corpus.voice(rng, int(rng.integers(len(corpus.voices))))])
        clean = voice[:minute]
        noisy = clean + mix_at_snr(clean, corpus.noise(rng, minute), int(rng.choice(SNRS_DB[1:])))
        gain = np.float32(min(1.0, 0.99 / np.abs(noisy).max()))
        parts.insert(0, (noisy * gain, clean * gain))
    noisy, clean = (np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True))
    return Clip(f"long-{number:03d}", "long", f"{minutes} min before", noisy, clean, minutes * minute, False)


def whispered(voice: np.ndarray, rng: np.random.Generator, order: int = 18) -> np.ndarray:
    """A voice (n,) without its pitch, float64 (n,): noise through its linear prediction, 20 dB softer.

    Not a recorded whisper: the formants are those of the voice, the tilt of the glottis is taken out.
    """
    size, hop = 512, 128
    spectra = stft(voice, RATE, nperseg=size, noverlap=size - hop)[2]
    noise = stft(rng.standard_normal(len(voice)), RATE, nperseg=size, noverlap=size - hop)[2]
    correlations = np.fft.irfft(np.abs(spectra.T) ** 2)[:, : order + 1] * np.exp(-1e-4 * np.arange(order + 1) ** 2)
    for frame, r in enumerate(correlations):
        r[0] = 1.0001 * r[0] + 1e-12
        taps = np.concatenate([[1.0], -solve_toeplitz(r[:order], r[1:])])
        noise[:, frame] *= np.sqrt(max(taps @ r, 0.0)) / np.abs(np.fft.rfft(taps, size))
    sound = lfilter([1, -0.9], 1, istft(noise, RATE, nperseg=size, noverlap=size - hop)[1][: len(voice)])
    return sound * (0.1 * np.sqrt(np.mean(np.square(voice)) / max(np.mean(sound**2), 1e-20)))


def pairs(noisy: Path, clean: Path, files: int | None = None) -> Iterator[Clip]:
    """Recordings of two folders with the same file names (extensions may differ).

    Raises InputError where names or lengths do not match, in one line that names the first file.
    """
    wanted, given = (
        {p.relative_to(folder).with_suffix("").as_posix(): p for p in audio_files(folder)} for folder in (clean, noisy)
    )
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


def _drawn(recordings: Sequence[np.ndarray], rng: np.random.Generator, count: int = 1) -> list[np.ndarray]:
    """Long ones more often, by the root of their length."""
    weights = np.sqrt([len(r) for r in recordings])
    return [recordings[k] for k in rng.choice(len(recordings), size=count, p=weights / weights.sum())]


def _cut(audio: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(len(audio) - samples + 1))
    return _float(audio[start : start + samples])


def _float(audio: np.ndarray) -> np.ndarray:
    return audio.astype(np.float32) / (np.float32(SCALE) if audio.dtype == np.int16 else np.float32(1))
