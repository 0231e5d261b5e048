"""What the keys of a live run choose: the sources that are heard, the strength, bypass."""

from __future__ import annotations

import numpy as np

SOLO_KEYS = "!@#$%^&*("  # shift and 1 .. 9 on a US keyboard
LIMIT_STEP, HIGHEST_LIMIT = 3.0, 30.0  # dB


class Mixer:
    """By keys: n mutes source n, shift-n (or s, n) plays it alone, b bypasses; - and + change the strength.

    limit: the most that an enhancer takes away, in dB; None: all.
    """

    def __init__(self, sources: list[str], limit: float | None = None):
        self.sources, self.limit = sources, limit
        self.muted = [False] * len(sources)
        self.solo: int | None = None
        self.bypass = False
        self._next = "m"

    @property
    def keys(self) -> str:
        """What the keys do, in a line."""
        several = len(self.sources) > 1
        keys = "1-9 mute, shift-1-9 (or s, 1-9) solo" if several else "- weaker, + stronger"
        return keys + ", b bypass, Ctrl-C stop"

    def key(self, key: str) -> None:
        """Take one key press; others than these are ignored."""
        command, self._next = self._next, "m"
        if key == "b":
            self.bypass = not self.bypass
        elif len(self.sources) == 1 and key and key in "-+=":
            self._strengthen(-LIMIT_STEP if key == "-" else LIMIT_STEP)
        elif len(self.sources) > 1 and key in ("m", "s"):
            self._next = key
        elif len(self.sources) > 1 and key:
            index = SOLO_KEYS.find(key)
            if index >= 0:
                command = "s"
            elif key.isdecimal():
                index = int(key) - 1
            if 0 <= index < len(self.sources):
                if command == "s":
                    self.solo = None if self.solo == index else index
                else:
                    self.muted[index] = not self.muted[index]

    def _strengthen(self, step: float) -> None:
        limit = (HIGHEST_LIMIT + LIMIT_STEP if self.limit is None else self.limit) + step
        self.limit = None if limit > HIGHEST_LIMIT else max(0.0, limit)

    def gains(self) -> np.ndarray:
        """float32 (sources,)."""
        if self.solo is not None:
            return np.array([index == self.solo for index in range(len(self.sources))], np.float32)
        return np.array([not muted for muted in self.muted], np.float32)

    def __str__(self) -> str:
        if self.bypass:
            return "bypass"
        if len(self.sources) == 1:
            return "" if self.limit is None else f"at most {self.limit:g} dB"
        heard = zip(self.sources, self.gains(), strict=True)
        return " ".join(f"{i + 1}:{name if gain else f'({name})'}" for i, (name, gain) in enumerate(heard))
