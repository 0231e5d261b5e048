"""Named cores: how long the vector arithmetic of a graph takes at the very least, at the core's peak rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What goes through a vector pipe at the rate of FMAs at best.
ARITHMETIC = ("fma", "dot", "matrix", "widening")


@dataclass(frozen=True)
class NamedCore:
    """A core of a real device. `counted_on`: the emulated core with the same instructions.

    fma_per_cycle: 128-bit vector FMAs that its pipes can start in a cycle, none of which ever waits.
    """

    name: str
    device: str
    counted_on: str
    clock_hz: float
    fma_per_cycle: int


NAMED_CORES = (
    NamedCore("Cortex-A53", "Raspberry Pi 3", "cortex-a53", 1.4e9, 1),
    NamedCore("Cortex-A72", "Raspberry Pi 4", "cortex-a53", 1.5e9, 1),
    NamedCore("Cortex-A76", "Raspberry Pi 5", "cortex-a76", 2.4e9, 2),
    NamedCore("Cortex-X3", "phone of 2023, big core", "i8mm", 3.2e9, 4),
)


def least_milliseconds(per_second: Mapping[str, float], core: NamedCore) -> float:
    """Lower bound of the time for one second of audio on one core: its vector multiply-accumulates at peak rate.

    A bound and no estimate: loads, other instructions and waiting for memory come on top. `per_second` must have
    been counted on `core.counted_on`.
    """
    return 1e3 * sum(per_second[name] for name in ARITHMETIC) / (core.fma_per_cycle * core.clock_hz)
