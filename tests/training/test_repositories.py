"""Recordings out of git repositories: what a source names, at its commit, and nothing else."""

from __future__ import annotations

import io
import subprocess

import numpy as np
import pytest
import soundfile

from edge.errors import InputError
from edge.training import shards, speech
from edge.training.repositories import NOISE, ROOMS, SPEECH, Repository, git_directory, read_files

RATE = 16000


def _wav(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, RATE, format="WAV")
    return file.getvalue()


def _speech(seconds: float, floor: float, seed: int) -> np.ndarray:
    """Half a second on, half a second off, over a noise floor."""
    time = np.arange(int(seconds * RATE)) / RATE
    voice = 0.4 * np.sin(2 * np.pi * (200 + 20 * seed) * time) * (time % 1 < 0.5)
    return voice + floor * np.random.default_rng(seed).standard_normal(len(time))


@pytest.fixture
def clone(tmp_path):
    """A clone of a small repository, its first commit pinned, with a later commit that nobody asked for."""
    work = tmp_path / "clones" / "someone+voices"
    files = {f"data/p{k}/{take}.wav": _wav(_speech(4, 1e-4, k)) for k in range(4) for take in range(2)}
    files |= {
        "data/p0/noisy.wav": _wav(_speech(4, 0.2, 9)),
        "data/p1/broken.wav": b"RIFF0000WAVEnothing",
        "data/p2/pointer.wav": b"version https://git-lfs.github.com/spec/v1",
        "data/p3/clipped.wav": _wav(np.clip(20 * _speech(4, 1e-4, 3), -1, 1)),
        "data/skipped/0.wav": _wav(_speech(4, 1e-4, 7)),
        "README.md": b"no audio",
    }

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(work), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    for name, content in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    (work / "data" / "p0" / "later.wav").write_bytes(_wav(_speech(4, 1e-4, 5)))
    git("add", "-A")
    git("commit", "-q", "-m", "second")
    source = Repository(
        "someone/voices", commit, r"data/(\w+)/.*\.wav$", "CC0", "v-", skip="skipped", held_out=4, weight=0.5
    )
    return tmp_path / "clones", source


def test_files_are_those_of_the_pinned_commit_and_of_the_pattern(clone, tmp_path):
    clones, source = clone
    found = list(read_files(source, git_directory(source, clones, tmp_path)))
    assert [path for _, path, _ in found] == sorted(path for _, path, _ in found)
    assert {group for group, _, _ in found} == {f"v-p{k}" for k in range(4)}
    assert not any("later" in path or "skipped" in path or "pointer" in path for _, path, _ in found)


def test_speakers_become_items_without_noisy_clipped_or_broken_recordings(clone, tmp_path):
    clones, source = clone
    items = list(speech._from_repository(tmp_path / "out", "speech", source, git_directory(source, clones, tmp_path)))
    assert [i.group for i in items] == [f"v-p{k}" for k in range(4)]
    assert [i.split for i in items] == ["test", "train", "validation", "train"]
    assert {(i.package, i.version, i.license, i.weight) for i in items} == {(source.name, source.commit, "CC0", 0.5)}
    lengths = [len(shards.open_shard(tmp_path / "out", i)) for i in items]
    assert max(lengths) - min(lengths) < RATE // 10  # each has its two good recordings alone


def test_a_missing_clone_is_named(clone, tmp_path):
    _, source = clone
    with pytest.raises(InputError, match="no clone of someone/voices"):
        git_directory(source, tmp_path, tmp_path)


def test_the_recipe_pins_every_source_and_keeps_some_out_of_training():
    sources = [*SPEECH, *NOISE, *ROOMS]
    assert all(len(s.commit) == 40 and s.license and s.pattern for s in sources)
    assert len({s.name for s in sources}) == len(sources)
    assert {s.split for s in NOISE} == {"train", "test"}
    assert all(s.weight < 1 for s in SPEECH if "commands" in s.name or "DSPSpeech" in s.name)  # words of a second


def test_snr_and_clipping_of_a_recording():
    assert speech.snr_db(_speech(6, 1e-3, 1)) == pytest.approx(20 * np.log10(0.4 / np.sqrt(2) / 1e-3), abs=1.5)
    assert speech.snr_db(np.zeros(RATE)) == 0 and speech.snr_db(np.ones(10)) == 0
    assert speech.is_clipped(np.clip(3 * _speech(2, 0, 1), -1, 1)) and not speech.is_clipped(_speech(2, 0, 1))
