"""Clips that enhancers are judged on, and by what."""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edge.benchmarks.peers.client import Process
from edge.benchmarks.quality.judging import Part
from edge.benchmarks.quality.metrics import RATE, level_dbfs, speech_scores
from edge.benchmarks.quality.systems import System
from edge.metrics import log_spectral_distance

INPUT = System("input", "noisy input", "0")


@dataclass(frozen=True)
class Clip:
    """One test file: float32 (n,) each. Scores skip the first `skip` samples.

    `group` is what the tables break down by: the kind of voice where there are several, else the SNR where it varies.
    `dnsmos`: whether it is judged by DNSMOS, which knows neither whispers and songs nor a narrow band, and is slow.
    """

    name: str
    condition: str
    group: str
    noisy: np.ndarray
    clean: np.ndarray
    skip: int = 0
    dnsmos: bool = True
    rate: ClassVar[int] = RATE

    @functools.cached_property
    def key(self) -> str:
        """Changes when the audio does."""
        return f"{self.name}-{zlib.crc32(self.noisy.tobytes() + self.clean.tobytes()):08x}"

    @functools.cached_property
    def parts(self) -> list[Part]:
        return [Part(self.condition, self.group, self.key, self.name)]

    def reference(self, part: Part) -> np.ndarray:
        return self.clean

    def estimates(self, system: System, process: Process | None) -> dict[str, np.ndarray]:
        return {self.condition: process.run(self.noisy[None], RATE)[0, 0] if process else self.noisy}

    def scoring(self, part: Part, estimate: np.ndarray) -> tuple[Any, ...]:
        return score, self.condition, self.clean[self.skip :], estimate[self.skip :], self.dnsmos


def score(condition: str, clean: np.ndarray, estimate: np.ndarray, dnsmos: bool) -> dict[str, float | None]:
    """What a clip of this condition is judged by."""
    if condition in ("silence", "noise alone"):
        return {"residual": level_dbfs(estimate)}
    extra = {"lsd": log_spectral_distance(clean, estimate)} if condition == "band-limited" else {}
    return extra | speech_scores(clean, estimate, dnsmos)
