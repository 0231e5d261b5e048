"""Recovery on recordings alone, without stems: what the unpruned network makes of them is the truth, and is remixed."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from edge.audio import AudioReader, Resampler
from edge.errors import EdgeError, InputError
from edge.models.htdemucs import HTDemucs
from edge.runtime.batch import recordings_in
from edge.runtime.channels import mapped
from edge.training.loop import Task
from edge.training.losses import sdr, separation_loss
from edge.training.mixing import deviation
from edge.training.shards import SCALE

HOUR = 3600.0  # of audio that is read at most: 600 MB
SHORTEST_SHARE = 30.0  # seconds of a recording, where there are too many for all
HELD_OUT = 10  # every tenth recording
_SILENT = 1e-3  # power of a source, of a mixture of power 1: SDR means nothing below it


def mixture_task(
    folder: Path, student: nn.Module, teacher: nn.Module, batch: int = 2, seconds: float = 2.0, seed: int = 0
) -> Task:
    """The task of `student` on all recordings in `folder`, of any kind, rate and length.

    Half of the examples are crops of recordings, half are remixes: the sources of the unpruned `teacher`, each from
    another recording, at other gains. Every tenth recording is held out, and there the student is compared with the
    teacher. Raises InputError where the folder has no recording that is long enough.
    """
    config = cast(HTDemucs, student).config
    rate, sources = config.samplerate, list(config.sources)
    samples, whole = int(Fraction(seconds) * rate), config.segment_samples
    songs = read_songs(folder, rate, config.audio_channels, seed)
    train, held_out = split(songs, max(samples, whole))
    if not train or not held_out:
        raise InputError(f"{folder}: its recordings are shorter than {max(samples, whole) / rate:.1f} s")

    def draw(generator: np.random.Generator) -> dict[str, Tensor]:
        mix = np.stack([_crop(train[generator.integers(len(train))], samples, generator) for _ in range(batch)])
        gains = 10 ** (generator.uniform(-6, 4, (batch, len(sources))) / 20)
        gains *= generator.choice([-1.0, 1.0], gains.shape)
        takes = np.stack([generator.permutation(batch) for _ in sources], axis=1)
        plain = generator.random(batch) < 0.5
        gains[plain], takes[plain] = 1, np.arange(batch)[plain, None]
        return {
            "mix": torch.from_numpy(mix / deviation(mix)),
            "gains": torch.from_numpy(gains.astype(np.float32)),
            "takes": torch.from_numpy(takes),
            "plain": torch.from_numpy(plain),
        }

    def loss(model: nn.Module, example: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            mix, stems = taught(teacher.to(example["mix"].device), example)
        return separation_loss(model(mix), stems)

    @torch.no_grad()
    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        found: list[list[float]] = [[] for _ in sources]
        for song in held_out[:10]:
            start = (song.shape[1] - whole) // 2
            crop = _floats(song[None, :, start : start + whole])
            mix = torch.from_numpy(crop / deviation(crop)).to(device)
            expected, got = teacher.to(device)(mix)[0].flatten(1), model(mix)[0].flatten(1)
            for values, reference, value in zip(found, expected, sdr(got, expected), strict=True):
                if reference.square().mean() > _SILENT:
                    values.append(value.item())
        means = {f"sdr_{name}_db": float(np.mean(v)) for name, v in zip(sources, found, strict=True) if v}
        return {"sdr_db": float(np.mean(list(means.values()))) if means else 0.0} | means

    return Task("htdemucs-mini", student, draw, loss, validate, lambda path, model: None, 3e-3, bf16=True)


def taught(teacher: nn.Module, example: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(B, C, n) and (B, S, C, n): the mixtures as they are, or remixes of their sources, with the teacher's stems."""
    stems = teacher(example["mix"])
    order = example["takes"]
    remixed = torch.stack([stems[order[:, s], s] for s in range(stems.shape[1])], dim=1)
    remixed = remixed * example["gains"][:, :, None, None]
    plain = example["plain"][:, None, None]
    return torch.where(plain, example["mix"], remixed.sum(1)), remixed


def read_songs(folder: Path, rate: int, channels: int, seed: int = 0) -> list[np.ndarray]:
    """int16 (channels, n) of the recordings in `folder`, at most an hour of them all, an equal share of each.

    What cannot be read is left out with a word. Raises InputError where there is none.
    """
    files = recordings_in(folder)
    random.Random(seed).shuffle(files)
    files = files[: int(HOUR / SHORTEST_SHARE)]
    share, songs = int(HOUR / len(files) * rate), []
    for file in tqdm(files, desc="recordings", unit="file", leave=False):
        try:
            songs.append(_read(file, rate, channels, share))
        except EdgeError as error:
            tqdm.write(f"left out: {error}")
    if not songs:
        raise InputError(f"{folder}: none of its recordings can be read")
    return songs


def split(songs: list[np.ndarray], least: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What is trained on and what is held out, of at least `least` samples each; of a single song its last tenth."""
    songs = [song for song in songs if song.shape[1] >= least]
    if len(songs) == 1:
        length = songs[0].shape[1]
        cut = length - max(least, length // HELD_OUT)
        songs = [songs[0][:, cut:], songs[0][:, :cut]] if cut >= least else []
    return [song for place, song in enumerate(songs) if place % HELD_OUT], songs[::HELD_OUT]


def _read(file: Path, rate: int, channels: int, share: int) -> np.ndarray:
    with AudioReader(file) as reader:
        resampler, parts, done = Resampler(reader.sample_rate, rate, channels), [], 0
        for block in reader.blocks():
            parts.append(_shorts(resampler.process(mapped(block, channels))))
            done += len(parts[-1])
            if done >= share:
                break
        else:
            parts.append(_shorts(resampler.flush()))
    return np.ascontiguousarray(np.concatenate(parts)[:share].T)


def _shorts(audio: np.ndarray) -> np.ndarray:
    return np.clip(np.round(audio * SCALE), -SCALE, SCALE - 1).astype(np.int16)


def _floats(audio: np.ndarray) -> np.ndarray:
    return audio.astype(np.float32) / np.float32(SCALE)


def _crop(song: np.ndarray, samples: int, generator: np.random.Generator) -> np.ndarray:
    start = int(generator.integers(song.shape[1] - samples + 1))
    return _floats(song[:, start : start + samples])[:: generator.choice([-1, 1])]
