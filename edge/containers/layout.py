"""What is found in a file: its recordings, and whether a decoder may read it as it is."""

from __future__ import annotations

from dataclasses import dataclass

from edge.containers.spliced import Piece


@dataclass(frozen=True)
class Part:
    """One recording: `pieces` that a decoder reads whole.

    skip: samples of each channel that a decoder gives and that are not of the recording. frames: how many come out
    after them at least, less `slack`; None where the decoder's count is right.
    """

    pieces: tuple[Piece, ...]
    frames: int | None = None
    slack: int = 0
    skip: int = 0


@dataclass(frozen=True)
class Layout:
    """The recordings of a file in order. honest: its one recording can be decoded as the file stands."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    honest: bool = False


class Truncated(Exception):
    """The file has less than its container declares; says so in a few words."""
