"""Speech data: 16-kHz voices and noises, one shard a speaker or noise group, split by speaker and group."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.ndimage import maximum_filter1d
from tqdm import tqdm

from edge.errors import InputError
from edge.training.packages import Package, fetch
from edge.training.repositories import NOISE, SPEECH, Repository, git_directory, read_files
from edge.training.shards import Item, write_manifest, write_shard

RATE = 16000
NOISE_SECONDS = 240  # of one file: the longest say the same again
CLIP_RMS = 10 ** (-26 / 20)  # each clip is brought to this level over its active part
AUDIO = {".wav", ".flac", ".ogg", ".oga", ".mp3", ".g722"}

# (package, glob below usr/share, speaker: a name or the index of the path part that names the language)
VOICES = [
    ("festvox-ru", "festival/voices/russian/*/wav/*.wav", "ru-nsh"),
    ("asterisk-core-sounds-en-g722", "asterisk/sounds/*/**/*.g722", "en-allison"),
    ("asterisk-core-sounds-fr-g722", "asterisk/sounds/*/**/*.g722", "fr-june"),
    ("asterisk-core-sounds-it-g722", "asterisk/sounds/*/**/*.g722", "it-carlo"),
    ("asterisk-core-sounds-ru-g722", "asterisk/sounds/*/**/*.g722", "ru-ivr"),
    *(
        ("tuxpaint-stamps-default", f"tuxpaint/stamps/**/*_desc_{c}.ogg", f"tux-{c}")
        for c in "be fr ro bg ca da".split()
    ),
    ("ktuberling-data", "ktuberling/sounds/*/*", "kde-"),
    ("klettres-data", "klettres/*/*/*", "kde-"),
]
# Whole voices are held out. The two KDE packages share contributors, so one language is one speaker there,
# and a language held out there is not in training under another package's volunteer either.
HELD_OUT = {
    "test": {"it-carlo", "tux-ca", "kde-it", "kde-uk", "kde-lt", "kde-ca"},
    "validation": {"tux-da", "kde-da", "kde-hu", "kde-pt", "kde-pt_BR"},
}
# (package, glob below usr/share/games, or below usr/share; prefix of the group names; at most so many seconds a file)
NOISES = [
    ("lincity-ng-data", "games/lincity-ng/sounds/*.wav", "city-", 60),
    ("megaglest-data", "games/megaglest/tilesets/*/sounds/*", "land-", 60),
    ("unknown-horizons", "unknown-horizons/content/audio/sounds/*.ogg", "town-", 60),
    ("wesnoth-1.16-data", "games/wesnoth/1.16/data/core/sounds/**/*.ogg", "fight-", 30),
    ("widelands-data", "games/widelands/data/sound/**/*.ogg", "craft-", 30),
    ("widelands-data", "games/widelands/data/music/*.ogg", "music-", 45),
]
NOISE_ZIP = "usr/share/games/0ad/mods/public/public.zip"
NOISE_FOLDERS = r"audio/(ambient|actor/(fauna/animal|gate)|attack|interface/select/building)/"


def split_of(group: str) -> str:
    """Split of a speaker."""
    return next((split for split, names in HELD_OUT.items() if group in names), "train")


def build(out: Path, clones: Path | None = None) -> None:
    """Fetch packages and repositories and write `out/speech` (shards + manifest). Takes some ten minutes and 6 GB.

    clones: a folder with local clones of the repositories, in place of fetching them.
    """
    cache, folder = out / "packages", out / "speech"
    items = list(_voices(cache, folder)) + list(_noises(cache, folder))
    for kind, sources in (("speech", SPEECH), ("noise", NOISE)):
        for source in tqdm(sources, desc=f"{kind} repositories"):
            items += _from_repository(folder, kind, source, git_directory(source, clones, cache))
    write_manifest(folder, "speech", RATE, items)


def _from_repository(folder: Path, kind: str, source: Repository, directory: Path) -> Iterator[Item]:
    """One item a speaker or noise group of a repository; recordings that are clipped or noisy are left out."""
    groups: dict[str, list[np.ndarray]] = {}
    for group, path, content in read_files(source, directory):
        try:
            audio = load(BytesIO(content), Path(path).suffix.lower())
        except InputError as error:
            tqdm.write(f"{source.name}: {path} left out: {error}")
            continue
        if kind == "noise":
            audio = audio[: NOISE_SECONDS * RATE]
        elif is_clipped(audio) or snr_db(audio) < source.min_snr_db:
            continue
        groups.setdefault(group, []).append(audio if kind == "noise" else _level(audio))
    dealt = (g for i, g in enumerate(sorted(groups)) if source.held_out)
    splits = {
        group: {0: "test", source.held_out // 2: "validation"}.get(i % source.held_out, source.split)
        for i, group in enumerate(dealt)
    }
    rng = np.random.default_rng(0)
    for group, clips in sorted(groups.items()):
        if kind == "noise":
            clips = [_event(c, rng) for c in clips if np.abs(c).max(initial=0) > 1e-3]
        audio = np.concatenate([*clips, np.zeros(0, np.float32)])
        if len(audio) > 2 * RATE:
            split = splits.get(group, source.split)
            origin = (source.name, source.commit, source.license)
            yield _item(folder, kind, group, split, audio, origin, source.weight)


def is_clipped(audio: np.ndarray) -> bool:
    """Whether more than one sample in two thousand lies at the peak of a full-scale recording."""
    peak = np.abs(audio).max(initial=0)
    return bool(peak > 0.95 and np.mean(np.abs(audio) > 0.99 * peak) > 5e-4)


def snr_db(audio: np.ndarray) -> float:
    """Level of the speech over that of the pauses, in dB: mean power of the active frames over the 8th percentile."""
    frame = RATE // 50
    count = len(audio) // frame
    if count < 5:
        return 0.0
    power = np.mean(audio[: count * frame].reshape(count, frame).astype(np.float64) ** 2, axis=1)
    active = power > power.max() * 1e-2
    return float(10 * np.log10(power[active].mean() / max(np.percentile(power, 8), 1e-12))) if power.max() else 0.0


def build_from_folders(out: Path, clean: Path, noise: Path | None, noisy: Path | None) -> None:
    """The same from a user's folders, e.g. VoiceBank+DEMAND.

    Speakers are the prefix of the file name up to the first underscore (`p226_001.wav`). Noise comes from
    `noise`, or is `noisy` minus `clean` for files of the same name.
    """
    if (noise is None) == (noisy is None):
        raise InputError("give either --noise DIR or --noisy DIR (recordings with the same names as in --clean)")
    folder, items = out / "speech", []
    groups: dict[str, list[Path]] = {}
    for path in _audio_files(clean):
        groups.setdefault(path.stem.split("_")[0], []).append(path)
    splits = deal(sorted(groups))
    for speaker, paths in tqdm(sorted(groups.items()), desc="speech", unit="speaker"):
        audio = np.concatenate([_level(load(p)) for p in paths])
        items.append(_item(folder, "speech", speaker, splits[speaker], audio))
    if noise is not None:
        files = _audio_files(noise)
        splits = deal([p.stem for p in files])
        for path in tqdm(files, desc="noise"):
            items.append(_item(folder, "noise", path.stem, splits[path.stem], load(path)))
    else:
        for speaker, paths in tqdm(sorted(groups.items()), desc="noise", unit="speaker"):
            pairs = [(load(p), load(noisy / p.name)) for p in paths if (noisy / p.name).is_file()]
            if not pairs:
                raise InputError(f"{noisy} has no recording of speaker {speaker} with the names used in {clean}")
            audio = np.concatenate([b[: len(a)] - a[: len(b)] for a, b in pairs])
            items.append(_item(folder, "noise", speaker, splits[speaker], audio))
    write_manifest(folder, "speech", RATE, items)


def deal(names: Iterable[str]) -> dict[str, str]:
    """Split by position: of each ten names one is for test and one for validation (at least one each of three)."""
    ordered = sorted(set(names))
    if len(ordered) < 3:
        raise InputError(f"{len(ordered)} speakers or noises found; at least 3 are needed to hold some out")
    step = min(10, max(3, len(ordered) // 2))
    return {n: {0: "test", step // 2: "validation"}.get(i % step, "train") for i, n in enumerate(ordered)}


def load(source: Path | BytesIO, suffix: str = "") -> np.ndarray:
    """Mono float32 at 16 kHz from any file that libsndfile reads, or raw G.722 (`.g722`, already 16 kHz)."""
    if (suffix or Path(str(source)).suffix) == ".g722":
        import av  # only these packages need it

        with av.open(str(source), format="g722") as container:
            frames = [f.to_ndarray().reshape(-1) for f in container.decode(audio=0)]
        return np.concatenate([np.zeros(0), *frames]).astype(np.float32) / 32768
    try:
        audio, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(f"cannot read {source}: {error}") from error
    mono = audio.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE).astype(np.float32)


def trim(audio: np.ndarray, below_db: float = 40.0) -> np.ndarray:
    """Cut silence at both ends, keeping 50 ms, and pauses of more than 0.4 s down to that."""
    frame = RATE // 50
    count = len(audio) // frame
    if count == 0:
        return audio[:0]
    power = np.mean(audio[: count * frame].reshape(count, frame) ** 2, axis=1)
    active = power > max(power.max() * 10 ** (-below_db / 10), 1e-8)
    first, last = np.flatnonzero(active)[[0, -1]] if active.any() else (0, -1)
    near = maximum_filter1d(active.astype(np.uint8), 21).astype(bool)
    near[: max(first - 2, 0)] = near[last + 3 :] = False
    return audio[: count * frame].reshape(count, frame)[near].reshape(-1)


def _level(audio: np.ndarray) -> np.ndarray:
    audio = trim(audio)
    loud = audio[np.abs(audio) > 0.05 * np.abs(audio).max(initial=1e-9)]
    if len(loud) < RATE // 10:
        return audio[:0]
    scaled = audio * (CLIP_RMS / np.sqrt(np.mean(loud**2)))
    return scaled * min(1.0, 0.99 / np.abs(scaled).max())


def _voices(cache: Path, folder: Path) -> Iterator[Item]:
    groups: dict[str, list[tuple[Path, Package]]] = {}
    for name, pattern, speaker in tqdm(VOICES, desc="packages"):
        package = fetch(name, cache)
        for path in sorted((package.root / "usr/share").glob(pattern)):
            if path.suffix not in AUDIO:
                continue
            if speaker == "kde-":
                base = path.relative_to(package.root / "usr/share").parts
                groups.setdefault(speaker + base[2 if name == "ktuberling-data" else 1], []).append((path, package))
            elif "silence" not in path.parts:
                groups.setdefault(speaker, []).append((path, package))
    for group, files in tqdm(sorted(groups.items()), desc="speech", unit="speaker"):
        audio = np.concatenate([_level(load(path)) for path, _ in files])
        if len(audio) > 5 * RATE:
            yield _item(folder, "speech", group, split_of(group), audio, files[0][1].origin)


def _noises(cache: Path, folder: Path) -> Iterator[Item]:
    """One item a noise group. Each source is dealt into splits by itself, so that a new one moves no other."""
    package, groups = fetch("0ad-data", cache), dict[str, list[np.ndarray]]()
    with zipfile.ZipFile(package.root / NOISE_ZIP) as archive:
        names = [n for n in archive.namelist() if re.match(NOISE_FOLDERS, n) and n.endswith(".ogg")]
        for name in tqdm(sorted(names), desc="noise"):
            groups.setdefault(_stem(name), []).append(load(BytesIO(archive.read(name)), ".ogg"))
    keys = fetch("bucklespring-data", cache)
    files = sorted(keys.root.glob("usr/share/buckle/wav/*.wav"))
    for part in range(8):
        groups[f"keys-{part}"] = [load(p) for p in files[part::8]]
    sources = {group: keys if group.startswith("keys-") else package for group in groups}
    yield from _dealt(folder, groups, sources)
    for name, pattern, prefix, seconds in tqdm(NOISES, desc="noise packages"):
        package, groups = fetch(name, cache), {}
        for path in sorted((package.root / "usr/share").glob(pattern)):
            if path.suffix in AUDIO:
                groups.setdefault(prefix + _stem(path.name), []).append(load(path)[: seconds * RATE])
        yield from _dealt(folder, groups, dict.fromkeys(groups, package))


def _stem(name: str) -> str:
    """The group of a noise file: its name without a running number."""
    return re.sub(r"[-_\d]+$", "", Path(name).stem)


def _dealt(folder: Path, groups: dict[str, list[np.ndarray]], sources: dict[str, Package]) -> Iterator[Item]:
    rng = np.random.default_rng(0)
    ambient = {g for g, clips in groups.items() if sum(map(len, clips)) / len(clips) > 4 * RATE}
    # long textures and short events are dealt apart, so that each split has both
    splits = {name: split for part in (ambient, set(groups) - ambient) if part for name, split in deal(part).items()}
    for group, clips in sorted(groups.items()):
        audio = np.concatenate([_event(c, rng) for c in clips if np.abs(c).max(initial=0) > 1e-3] or [np.zeros(0)])
        if len(audio) > 2 * RATE:
            yield _item(folder, "noise", group, splits[group], audio, sources[group].origin)


def _event(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    clip = clip * (0.3 / np.abs(clip).max())
    if len(clip) > 4 * RATE:
        return clip
    return np.concatenate([clip, np.zeros(int(rng.uniform(0, 0.4) * RATE), np.float32)])


def _item(
    folder: Path,
    kind: str,
    group: str,
    split: str,
    audio: np.ndarray,
    origin: tuple[str, str, str] = ("user", "", "user"),
    weight: float = 1.0,
) -> Item:
    """Write one shard; `origin` is its package, version and licence."""
    file = write_shard(folder, f"{kind}-{group}", audio)
    return Item(file, kind, split, group, *origin, round(len(audio) / RATE, 2), weight)


def _audio_files(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO - {".g722"})
    if not files:
        raise InputError(f"no audio files in {folder}")
    return files
