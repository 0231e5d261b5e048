"""A bank of room impulse responses, simulated and measured: the whole room, and its direct path alone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from edge.atomic import atomic_path
from edge.training.repositories import ROOMS, git_directory, read_files

RATE = 16000
DIRECT = 0.0025  # seconds: half the length of the simulator's fractional-delay kernel
LENGTH = 12800
HELD_OUT = 10  # the last tenth of the bank validates


def build(out: Path, count: int = 2000, seed: int = 5, clones: Path | None = None, measured: bool = True) -> None:
    """Simulate `count` shoebox rooms of RT60 0.15 to 1.1 s by the image-source method, and add measured ones.

    Writes `out/rooms.npy`, float16 (rooms, 2, N): the response and its direct path; measured rooms come first.
    clones: as for `speech.build`.
    """
    bank = [split_direct(response) for response in tqdm(_measured(clones, out / "packages"))] if measured else []
    rng = np.random.default_rng(seed)
    bank += [split_direct(_simulated(rng)) for _ in tqdm(range(count), desc="rooms")]
    with atomic_path(out / "rooms.npy") as path:
        np.save(path, np.stack(bank).astype(np.float16))


def _simulated(rng: np.random.Generator) -> np.ndarray:
    """A shoebox of random size whose walls swallow more of some octaves than of others."""
    import pyroomacoustics as pra  # only the recipe needs it

    size = rng.uniform([2.2, 2.2, 2.2], [9, 8, 4])
    time = max(np.exp(rng.uniform(np.log(0.15), np.log(1.1))), 0.17 * size.prod() ** (1 / 3) / 2)
    absorption, _ = pra.inverse_sabine(time, size)
    octaves = np.array([125, 250, 500, 1000, 2000, 4000])
    tilt = rng.uniform(-0.3, 0.5) * np.arange(-2.5, 3) + rng.normal(0, 0.15, 6)
    walls = {"coeffs": np.clip(absorption * 2.0**tilt, 0.02, 0.95), "center_freqs": octaves}
    room = pra.ShoeBox(size, fs=RATE, materials=pra.Material(walls), max_order=24, air_absorption=True)
    source, direction = rng.uniform(0.3, size - 0.3), rng.normal(size=3) * [1, 1, 0.3]
    distance = np.exp(rng.uniform(np.log(0.3), np.log(4.0)))  # metres: from a headset to the far end of a table
    room.add_source(source)
    room.add_microphone(np.clip(source + distance * direction / np.linalg.norm(direction), 0.2, size - 0.2))
    room.compute_rir()
    return room.rir[0][0]


def _measured(clones: Path | None, cache: Path) -> list[np.ndarray]:
    """Measured responses at 16 kHz; of an array of microphones every eighth one."""
    responses = []
    for source in ROOMS:
        for _, _, content in read_files(source, git_directory(source, clones, cache)):
            audio, rate = soundfile.read(BytesIO(content), dtype="float32", always_2d=True)
            step = max(1, audio.shape[1] // 4)
            responses += [soxr.resample(channel, rate, RATE) for channel in audio.T[::step]]
    return responses


def split_direct(response: np.ndarray) -> np.ndarray:
    """(2, LENGTH): the response from its direct path on, of unit peak, and the direct path faded out after it."""
    direct = int(np.argmax(np.abs(response)))
    whole = np.zeros(LENGTH)
    part = response[direct : direct + LENGTH] / response[direct]
    whole[: len(part)] = part
    kept = int(DIRECT * RATE)
    fade = np.zeros(LENGTH)
    fade[:kept] = 0.5 * (1 + np.cos(np.pi * np.arange(kept) / kept))
    return np.stack([whole, whole * fade])


def load_rooms(data: Path, split: str = "train") -> np.ndarray | None:
    """The bank of a data folder for "train" or "validation"; None where there is none (rooms are then left out)."""
    path = data / "rooms.npy"
    if not path.is_file():
        return None
    bank = np.load(path, allow_pickle=False)
    held_out = len(bank) // HELD_OUT
    return bank[: len(bank) - held_out] if split == "train" else bank[len(bank) - held_out :]
