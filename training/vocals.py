"""Sung vocals: recorded words, stretched to the notes of a tune and re-pitched with the WORLD vocoder.

WORLD (Morise et al. 2016) splits a voice into pitch, spectral envelope and aperiodicity. The words keep their
envelope and their unvoiced consonants; the pitch is replaced by the tune with glides and vibrato.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from importlib.metadata import version

import numpy as np

FRAME = 0.005  # seconds between WORLD frames


def _world():
    """pyworld, which asks a module that newer setuptools no longer has for its own version."""
    if "pkg_resources" not in sys.modules and importlib.util.find_spec("pkg_resources") is None:
        stand_in = types.ModuleType("pkg_resources")
        stand_in.get_distribution = lambda name: types.SimpleNamespace(version=version(name))  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stand_in
    return importlib.import_module("pyworld")


def sing(
    words: np.ndarray,
    rate: int,
    notes: list[tuple[float, float, int]],
    beat: float,
    length: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Sing `notes` (start and length in beats, MIDI pitch; transposed by octaves into the voice's range).

    words: float (N,) speech at `rate`; one syllable-sized piece of it is spent on each note.
    Returns float32 (length,).
    """
    world = _world()
    source = words.astype(np.float64)
    pitch, times = world.dio(source, rate, f0_floor=65, f0_ceil=600, frame_period=FRAME * 1000)
    pitch = world.stonemask(source, pitch, times, rate)
    envelope = world.cheaptrick(source, pitch, times, rate)
    aperiodicity = world.d4c(source, pitch, times, rate)
    voiced = pitch > 0
    if voiced.sum() < 20:
        return np.zeros(length, np.float32)
    shift = _octaves(np.median(pitch[voiced]), np.median([n[2] for n in notes]))
    frames = int(length / rate / FRAME) + 1
    position, target, gain = np.zeros(frames), np.zeros(frames), np.zeros(frames)
    cursor = 0.0
    for start, beats, note in notes:
        first, last = int(start * beat / FRAME), min(int((start + beats) * beat / FRAME), frames)
        if first >= last:
            continue
        # words at natural speed for up to 0.35 s a note, slower on longer ones
        spend = min((last - first), 70)
        if cursor + spend >= len(pitch):
            cursor = 0.0
        position[first:last] = cursor + np.linspace(0, spend, last - first, endpoint=False)
        cursor += spend
        target[first:last] = note + 12 * shift
        ramp = np.minimum(np.arange(last - first) + 1, np.arange(last - first)[::-1] + 1) / 6
        gain[first:last] = np.minimum(ramp, 1.0)
    index = np.minimum(position.astype(int), len(pitch) - 1)
    sung = _glide(target, rng)
    f0 = np.where(voiced[index] & (gain > 0), 440.0 * 2 ** ((sung - 69) / 12), 0.0)
    audio = world.synthesize(
        f0, np.ascontiguousarray(envelope[index] * gain[:, None] ** 2 + 1e-16), aperiodicity[index], rate, FRAME * 1000
    )
    out = np.zeros(length, np.float32)
    out[: min(length, len(audio))] = audio[:length]
    return out


def _octaves(voice_hz: float, tune: float) -> int:
    """Octaves that bring the tune nearest to a fourth above the speaking pitch."""
    return round((69 + 12 * np.log2(voice_hz / 440) + 5 - tune) / 12)


def _glide(target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth steps between notes (40 ms) and add vibrato and a slow drift, in semitones."""
    time = np.arange(len(target)) * FRAME
    held = target.copy()
    for k in np.flatnonzero(held == 0):
        held[k] = held[k - 1] if k else target[target > 0][0]
    smooth = np.convolve(np.pad(held, 4, mode="edge"), np.ones(9) / 9, mode="valid")
    vibrato = rng.uniform(0.1, 0.45) * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * time + rng.uniform(0, 6))
    return smooth + vibrato * np.clip(np.sin(2 * np.pi * time / rng.uniform(1, 3)) + 0.5, 0, 1)
