"""A bank of simulated room impulse responses: whole room, and its direct path with early reflections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge.atomic import atomic_path

RATE = 16000
EARLY = 0.03  # seconds after the direct path that count as part of the voice
LENGTH = 12800


def build(out: Path, count: int = 250, seed: int = 5) -> None:
    """Simulate `count` shoebox rooms by the image-source method and write `out/rooms.npy`, float16 (count, 2, N)."""
    import pyroomacoustics as pra  # only the recipe needs it

    rng = np.random.default_rng(seed)
    bank = np.zeros((count, 2, LENGTH), np.float16)
    for k in tqdm(range(count), desc="rooms"):
        size = rng.uniform([2.5, 2.5, 2.2], [8, 7, 3.5])
        absorption, _ = pra.inverse_sabine(max(rng.uniform(0.15, 0.7), 0.17 * size.prod() ** (1 / 3) / 2), size)
        room = pra.ShoeBox(size, fs=RATE, materials=pra.Material(min(absorption, 0.95)), max_order=24)
        room.add_source(rng.uniform(0.4, size - 0.4))
        room.add_microphone(rng.uniform(0.4, size - 0.4))
        room.compute_rir()
        bank[k] = split_early(room.rir[0][0])
    with atomic_path(out / "rooms.npy") as path:
        np.save(path, bank)


def split_early(response: np.ndarray) -> np.ndarray:
    """(2, LENGTH): the response from its direct path on, of unit peak, and the same faded out after `EARLY`."""
    direct = int(np.argmax(np.abs(response)))
    whole = np.zeros(LENGTH)
    part = response[direct : direct + LENGTH] / response[direct]
    whole[: len(part)] = part
    fade = np.ones(LENGTH)
    start, stop = int(EARLY * RATE), int((EARLY + 0.01) * RATE)
    fade[start:stop] = np.linspace(1, 0, stop - start)
    fade[stop:] = 0
    return np.stack([whole, whole * fade])


def load_rooms(data: Path) -> np.ndarray | None:
    """The bank of a data folder, or None where there is none (rooms are then left out of training)."""
    path = data / "rooms.npy"
    return np.load(path, allow_pickle=False) if path.is_file() else None
