"""Public repositories of speech and noise: pinned commits, path patterns, licences, speaker rules and filters.

Nothing is checked out: files are read from the git objects of a clone. Clones are taken from a folder of local ones
(`OWNER+NAME` or `OWNER/NAME`, bare or not) or made at the pinned commit; files that a partial clone lacks are left
out and counted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EdgeError, InputError


@dataclass(frozen=True)
class Repository:
    """One source.

    Attributes:
        name: OWNER/NAME on GitHub.
        commit: the commit that is read.
        pattern: of the paths taken; its first group, where it has one, names the speaker or noise group.
        license: of the recordings, as their repository or the corpus they come from states it.
        prefix: of the names of its groups.
        skip: of the paths (or groups) not taken.
        held_out: of how many speakers or groups one is for test and one for validation; 0: none.
        split: the split of all that is not held out.
        weight: how often it is drawn, relative to its length; words of a second count less than running speech.
        min_snr_db: recordings whose pauses lie less than this below their speech are left out.
    """

    name: str
    commit: str
    pattern: str
    license: str
    prefix: str
    skip: str = "$^"
    held_out: int = 0
    split: str = "train"
    weight: float = 1.0
    min_snr_db: float = 25.0


SPEECH = (
    Repository(
        "jimbozhang/speechocean762",
        "613968e3b0b789fc33936fb5eba1973176ba7d11",
        r"WAVE/SPEAKER(\d+)/.*\.WAV$",
        "free for commercial and non-commercial use (speechocean762)",
        "ocean-",
        held_out=20,
    ),
    Repository(
        "resemble-ai/Resemblyzer",
        "15d828edebe06bc72b9cabc8ef8ca5ab2cb457ce",
        r"audio_data/librispeech[^/]*/(?:(\d+)/|(\d+)[-_.])",
        "CC BY 4.0 (LibriSpeech)",
        "libri-",
        skip=r"/(198|3436|5703)[-_./]",
        held_out=20,
    ),
    Repository(
        "Picovoice/speech-to-intent-benchmark",
        "47b1ca63afe4f08cb83e1f70fec16764879bd130",
        r"data/speech/clean/.*\.wav$",
        "Apache-2.0 (Picovoice)",
        "intent",
        weight=1.5,
    ),
    Repository(
        "Picovoice/wake-word-benchmark",
        "84919190fb1891bf0936dcb577d9268e467f876f",
        r"^audio/.*\.(?:wav|flac)$",
        "Apache-2.0 (Picovoice)",
        "wake",
        weight=0.6,
    ),
    Repository(
        "rhasspy/dataset-voice-kerstin",
        "f73127135cf80d6ef52aef6af58c49774f4fd625",
        r"\.flac$",
        "CC0 (Kerstin Weiler)",
        "kerstin",
        min_snr_db=22.0,
    ),
    Repository(
        "gcompris/GCompris-voices",
        "c0e8a743b7b4633af06b8dc15bc2b397e456dd6f",
        r"^([A-Za-z_@]+)/.*\.ogg$",
        "GPL, CC BY-SA or public domain, by file (GCompris)",
        "gcompris-",
        skip=r"^(music|effects|backgroundMusic)/",
        weight=0.7,
        min_snr_db=28.0,
    ),
    Repository(
        "zhongyuchen/DSPSpeech-20",
        "8165959c2567190524898e8187021c8ffb19b262",
        r"^speech_data/(\d+)/.*\.wav$",
        "MIT (DSPSpeech-20)",
        "fudan-",
        weight=0.3,
        min_snr_db=30.0,
    ),
    Repository(
        "abdulkaderghandoura/arabic-speech-commands-dataset",
        "72f3438212ff6cf8fbe5ae8068361840646429bd",
        r"^dataset/[^/]+/(\d+)_.*\.wav$",
        "CC BY 4.0 (Arabic Speech Commands)",
        "arabic-",
        weight=0.3,
    ),
    Repository(
        "hugolpz/audio-cmn",
        "ff9ed3d0c631195bd2c06f39450f3264c7124040",
        r"^96k/hsk.*\.mp3$",
        "CC BY-SA (audio-cmn)",
        "mandarin",
        weight=0.3,
    ),
)
_NO_NOISE = (
    r"binaural|alarm|morse|singing|carousel|church|temple|silence|choir|prayer|voice|wtf|_s\.mp3|beeps|chime|/bell"
)
NOISE = tuple(
    Repository(name, commit, pattern, license, prefix, skip=_NO_NOISE, **options)
    for name, commit, pattern, license, prefix, options in (
        (
            "remvze/moodist",
            "983f7412e8cd054e76d156977c563da2028e4428",
            r"^public/sounds/.*/([^/]+)\.(?:mp3|wav)$",
            "Pixabay content licence or CC0 (Moodist)",
            "mood-",
            {"held_out": 14},
        ),
        (
            "abetusk/noixer",
            "24919a4b33e3604516482832d983e2b1770ef402",
            r"^assets/(\d+)__.*\.mp3$",
            "CC0 (noixer)",
            "noix-",
            {},
        ),
        (
            "mateusfg7/Noisekun",
            "d32024c67aba7c0577e1609944af00b9df1b7775",
            r"^\.github/assets/sounds/(?!washing|train)([^/]+)\.ogg$",
            "CC0 mostly (Noisekun)",
            "kun-",
            {},
        ),
        (
            "ashutoshgngwr/noice",
            "03c5ec85968dc768081bba32ae1028a3134f98ab",
            r"^app/src/main/assets/([a-z_]+?)(?:_\d)?\.mp3$",
            "GPL-3 (Noice)",
            "nice-",
            {},
        ),
        (
            "rafaelmardojai/blanket",
            "8b1c27aedde1d6ad8053ce5ad351a2924bcdb766",
            r"^data/resources/sounds/([^/]+)\.ogg$",
            "CC0, CC BY, CC BY-SA or public domain, by file (Blanket)",
            "blanket-",
            {},
        ),
        # sources that no training hears
        (
            "chaeyoung-lee/wids_tutorial",
            "7d028e7211c846244903eb59664087f1fb3e4c07",
            r"^data/_background_noise_/([^/]+)\.wav$",
            "CC BY 4.0 (Speech Commands)",
            "wids-",
            {"split": "test"},
        ),
        (
            "jenius-apps/ambie",
            "7a4580b9fd6551c6e5ca2a1dea1e3501c7e37554",
            r"^src/AmbientSounds\.Uwp/Assets/Sounds/([^/]+)\.(?:wav|mp3)$",
            "by file (Ambie)",
            "ambie-",
            {"split": "test"},
        ),
    )
)
ROOMS = (
    Repository(
        "polimi-ispl/rs-mnmf", "848a186ba89988554cb07c050eda605df8ca9d07", r"^data/sources/.*\.wav$", "GPL-3", "office"
    ),
    Repository(
        "bbc/bbcrd-brirs", "c88a293ed81f4aa820bcbc4138f951552819e001", r"^ambix-configs/irs/.*\.wav$",
        "CC BY-SA 4.0 (BBC R&D)", "listening",
    ),
    Repository(
        "rerdavies/ToobAmp", "e1c7b03395afc3ba39d60c1b2b59ccb73f802828", r"^impulseFiles/reverb/.*\.wav$",
        "CC BY 4.0 (OpenAIR)", "openair",
    ),
)  # fmt: skip


def git_directory(repository: Repository, clones: Path | None, cache: Path) -> Path:
    """The git directory of a local clone below `clones`, or of one made in `cache` at the pinned commit.

    Raises InputError where `clones` lacks it or git is missing, EdgeError where it cannot be fetched.
    """
    if shutil.which("git") is None:
        raise InputError("git not found: install it, or pass your own folders (--clean, --noise)")
    owner, _, name = repository.name.partition("/")
    if clones is not None:
        for folder in (clones / f"{owner}+{name}", clones / owner / name, clones / name):
            for candidate in (folder / "repo" / ".git", folder / "repo", folder / ".git", folder):
                if (candidate / "HEAD").is_file():
                    return candidate
        raise InputError(f"no clone of {repository.name} in {clones}")
    target = cache / f"{owner}+{name}.git"
    if not (target / "complete").is_file():
        target.mkdir(parents=True, exist_ok=True)
        _git(target, "init", "-q", "--bare", ".")
        _git(target, "fetch", "-q", "--depth", "1", f"https://github.com/{repository.name}", repository.commit)
        (target / "complete").touch()
    return target


def read_files(repository: Repository, directory: Path) -> Iterator[tuple[str, str, bytes]]:
    """(group, path, content) of each file that the source takes, sorted by path."""
    listing = _git(directory, "ls-tree", "-r", "-z", repository.commit)
    wanted, skip = re.compile(repository.pattern, re.IGNORECASE), re.compile(repository.skip, re.IGNORECASE)
    entries = []
    for line in listing.split(b"\0"):
        head, _, raw = line.partition(b"\t")
        path = raw.decode("utf-8", "replace")
        match = wanted.search(path)
        if match and not skip.search(path) and head.split()[1] == b"blob":
            group = next((g for g in match.groups() if g), "") if match.groups() else ""
            entries.append((path, repository.prefix + group, head.split()[2]))
    command = ["git", "-C", str(directory), "cat-file", "--batch"]
    environment = os.environ | {"GIT_NO_LAZY_FETCH": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as batch:
        assert batch.stdin is not None and batch.stdout is not None
        for path, group, blob in sorted(entries):
            batch.stdin.write(blob + b"\n")
            batch.stdin.flush()
            found = batch.stdout.readline().split()
            if found[-1:] == [b"missing"]:
                continue
            content = batch.stdout.read(int(found[2]))
            batch.stdout.read(1)
            if not content.startswith(b"version https://git-lfs"):
                yield group, path, content


def _git(directory: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, check=False)
    if done.returncode:
        reason = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise EdgeError(f"{directory.name}: git {arguments[0]} failed: {reason}")
    return done.stdout
