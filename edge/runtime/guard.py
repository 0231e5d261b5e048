"""What every stream does about silence and about samples that no audio has, before and after the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.runtime.binding import Binding

SILENCE = 1e-4  # RMS, -80 dBFS: what is below counts as silent
MAX_SAMPLE = 1e4  # beyond it (+80 dBFS) a sample is a fault, and would overflow in the network


@dataclass
class Counts:
    """What a session did so far; `reset` does not touch it."""

    hops: int = 0  # taken
    inferences: int = 0  # hops for which the graph ran: silence needs none
    bad_inputs: int = 0  # samples
    bad_outputs: int = 0  # inferences that gave NaN or infinity and so came out silent


class Guard:
    """Runs one stream's graph, keeps faults out of it and out of what comes of it, and counts.

    NaN, infinite and absurd input samples are taken for zero. A result that holds NaN or infinity is none, and the
    graph's states start afresh, since they would stay poisoned.
    """

    def __init__(self, bound: Binding):
        self._bound, self.counts = bound, Counts()
        self.input = bound.input[0]  # the graph's first input without its batch axis

    def reset(self) -> None:
        """The graph's states to zero; the counters go on."""
        self._bound.reset()

    @np.errstate(over="ignore", invalid="ignore")  # of energies: what overflows is looked at
    def repair(self, samples: np.ndarray) -> float:
        """Zero and count what no audio has in float32 (n,) or (channels, n); the energy of the loudest channel."""
        energy = _energy(samples)  # NaN and infinity show in it, and cost no pass of their own
        if energy < MAX_SAMPLE:
            return energy
        bad = ~(np.abs(samples) < MAX_SAMPLE)
        if not bad.any():  # loud
            return energy
        self.counts.bad_inputs += int(bad.sum())
        samples[bad] = 0
        return _energy(samples)

    @np.errstate(over="ignore", invalid="ignore")
    def run(self) -> np.ndarray | None:
        """The graph's first output for `input`, valid until the next run; None where it is no audio."""
        self._bound.run()
        self.counts.inferences += 1
        output = self._bound.output[0]
        flat = output.reshape(-1)
        if np.dot(flat, flat) < np.inf:
            return output
        self.counts.bad_outputs += 1
        self._bound.reset()
        return None


def silent_energy(samples: int) -> float:
    """Below this energy `samples` samples are silent."""
    return SILENCE**2 * samples


def is_silent(audio: np.ndarray) -> bool:
    """Whether the RMS of float32 (channels, n) is below -80 dBFS in every channel."""
    return _energy(audio) < silent_energy(audio.shape[1])


def _energy(samples: np.ndarray) -> float:
    if samples.ndim == 1:
        return float(np.dot(samples, samples))
    return float(np.einsum("cn,cn->c", samples, samples).max(initial=0))
