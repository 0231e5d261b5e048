"""Single key presses from a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def key_presses() -> Iterator[Callable[[], str]]:
    """Yield a function that gives the next key pressed, or "" at once; always "" where stdin is no terminal."""
    if not sys.stdin or not sys.stdin.isatty():
        yield lambda: ""
        return
    if sys.platform == "win32":
        import msvcrt

        yield lambda: msvcrt.getwch() if msvcrt.kbhit() else ""
        return
    import select
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    saved = termios.tcgetattr(descriptor)

    def pressed() -> str:
        if not select.select([descriptor], [], [], 0)[0]:
            return ""
        return os.read(descriptor, 1).decode(errors="ignore")  # unbuffered, as select is

    try:
        tty.setcbreak(descriptor)  # Ctrl-C still interrupts
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)
