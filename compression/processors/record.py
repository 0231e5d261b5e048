"""What compression knows of the processor that a graph is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class BreakEven:
    """When int8 arithmetic pays: products saved against the cost of getting into int8 and out again.

    A layer of M multiply-accumulates whose input and output have E elements computes in int8 where
    M > elements * E + overhead. Measured; see docs/compression.md.
    """

    elements: float
    overhead: float


ALWAYS, NEVER = BreakEven(0, 0), BreakEven(float("inf"), 0)


@dataclass(frozen=True)
class Processor:
    """name: as `--target` has it. int8: by backend and kind of layer; what is not there never pays.
    half: whether it computes in fp16."""

    name: str
    int8: Mapping[tuple[str, str], BreakEven]
    half: bool = False
