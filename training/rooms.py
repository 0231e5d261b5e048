"""A bank of simulated room impulse responses: the whole room, and its direct path alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge.atomic import atomic_path

RATE = 16000
DIRECT = 0.0025  # seconds: half the length of the simulator's fractional-delay kernel
LENGTH = 12800
HELD_OUT = 10  # the last tenth of the bank validates


def build(out: Path, count: int = 600, seed: int = 5) -> None:
    """Simulate `count` shoebox rooms of RT60 0.15 to 0.9 s by the image-source method.

    Writes `out/rooms.npy`, float16 (count, 2, N): the response and its direct path.
    """
    import pyroomacoustics as pra  # only the recipe needs it

    rng = np.random.default_rng(seed)
    bank = np.zeros((count, 2, LENGTH), np.float16)
    for k in tqdm(range(count), desc="rooms"):
        size = rng.uniform([2.5, 2.5, 2.2], [8, 7, 3.5])
        absorption, _ = pra.inverse_sabine(max(rng.uniform(0.15, 0.9), 0.17 * size.prod() ** (1 / 3) / 2), size)
        room = pra.ShoeBox(size, fs=RATE, materials=pra.Material(min(absorption, 0.95)), max_order=24)
        room.add_source(rng.uniform(0.4, size - 0.4))
        room.add_microphone(rng.uniform(0.4, size - 0.4))
        room.compute_rir()
        bank[k] = split_direct(room.rir[0][0])
    with atomic_path(out / "rooms.npy") as path:
        np.save(path, bank)


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
