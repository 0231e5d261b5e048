"""Rooms for evaluation: simulated with another seed, other sizes and walls than those of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge.atomic import atomic_path
from edge.errors import EdgeError, InputError

RATE = 16000
COUNT = 24
RT60 = (0.3, 0.8)  # seconds, measured on the response
SEED = 90210
LENGTH = 16000
FILE = "eval-rooms.npz"


def evaluation_rooms(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Responses float32 (COUNT, 2, LENGTH), whole room and direct path alone, and their RT60 in seconds (COUNT,).

    Read from `folder/eval-rooms.npz`, which is simulated first where it is missing (a minute).
    """
    path = folder / FILE
    if not path.is_file():
        simulate(path)
    try:
        with np.load(path, allow_pickle=False) as content:
            return content["responses"].astype(np.float32), content["rt60"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged: delete it, it is simulated again") from error


def simulate(path: Path, count: int = COUNT, seed: int = SEED) -> None:
    """Simulate `count` shoebox rooms by the image-source method, walls of unequal absorption, talker at 0.5 to 3 m."""
    try:
        import pyroomacoustics as pra
    except ImportError as error:
        raise InputError('reverberant files need pyroomacoustics: pip install "stem-edge[eval]"') from error
    rng = np.random.default_rng(seed)
    responses, times = np.zeros((count, 2, LENGTH), np.float16), np.zeros(count)
    done = 0
    bar = tqdm(total=count, desc="evaluation rooms", leave=False, disable=None)
    for _ in range(50 * count):
        size = rng.uniform([3, 3, 2.3], [10, 8, 4])
        absorption = pra.inverse_sabine(rng.uniform(*RT60), size)[0] * rng.uniform(0.6, 1.4, 6)
        talker, microphone = rng.uniform(0.5, size - 0.5), rng.uniform(0.5, size - 0.5)
        if not 0.5 <= np.linalg.norm(talker - microphone) <= 3 or absorption.max() > 0.95:
            continue
        names = ("east", "west", "north", "south", "ceiling", "floor")
        walls = {name: pra.Material(float(a)) for name, a in zip(names, absorption, strict=True)}
        whole, direct = (_response(pra, size, walls, talker, microphone, order) for order in (32, 0))
        rt60 = float(pra.experimental.measure_rt60(whole, RATE, decay_db=30))
        if RT60[0] <= rt60 <= RT60[1]:
            peak = direct[np.argmax(np.abs(direct))]
            for k, response in enumerate((whole, direct)):
                kept = response[:LENGTH] / peak
                responses[done, k, : len(kept)] = kept
            times[done] = rt60
            done += 1
            bar.update()
        if done == count:
            break
    else:
        raise EdgeError("no rooms of the wanted reverberation could be simulated")
    bar.close()
    with atomic_path(path) as temporary:
        np.savez(temporary, responses=responses, rt60=times)


def _response(pra, size, walls, talker, microphone, order: int) -> np.ndarray:
    """Order 0 is the direct path alone, at the same delay."""
    room = pra.ShoeBox(size, fs=RATE, materials=walls, max_order=order)
    room.add_source(talker)
    room.add_microphone(microphone)
    room.compute_rir()
    return room.rir[0][0]
