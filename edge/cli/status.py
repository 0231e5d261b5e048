"""The line on a terminal that shows a live run."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping

import numpy as np

METER_SECONDS = 0.1
LEFT_OUT = ("in", "xruns", "out", "latency", "RTF")  # in this order, where a terminal is too narrow


def meter(engine, end: int, ring) -> str:
    """Peak of the last tenth of a second: a bar of 60 dB and a figure."""
    recent = np.zeros((round(METER_SECONDS * engine.rate), ring.channels), np.float32)
    count = ring.read(max(end - len(recent), ring.span[0]), recent, spare=engine.block)
    peak = float(np.abs(recent[:count]).max()) if count else 0.0
    level = max(-99.0, 20 * np.log10(max(peak, 1e-9)))
    bar = "#" * max(0, min(10, round((level + 60) / 6)))
    return f"[{bar:<10}] {level:4.0f} dB"


def fit(parts: Mapping[str, str], width: int) -> str:
    """Named parts as one line of at most `width` characters: those that matter less are left out."""
    shown = dict(parts)
    for name in LEFT_OUT:
        if len(_line(shown)) > width:
            shown.pop(name, None)
    return _line(shown)[:width]


def _line(parts: Mapping[str, str]) -> str:
    return " | ".join(f"{name} {text}".strip() for name, text in parts.items())


@contextlib.contextmanager
def status_line() -> Iterator:
    """Yield a function that shows named parts in place of the last, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda parts: None
        return
    before = 0

    def show(parts: Mapping[str, str]) -> None:
        nonlocal before
        line = fit(parts, shutil.get_terminal_size().columns - 1)
        sys.stderr.write("\r" + line.ljust(before))
        sys.stderr.flush()
        before = len(line)

    try:
        yield show
    finally:
        sys.stderr.write("\n")
