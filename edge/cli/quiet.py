"""A stderr for people alone: what C libraries write there themselves is left out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def libraries_quiet() -> Iterator[None]:
    """Python's own messages go on; PortAudio, which tells stderr of each device that breaks off, is not heard.

    Does nothing where sys.stderr is not the process's own.
    """
    shown = sys.stderr
    try:
        own = shown is not None and shown.fileno() == 2
    except (OSError, ValueError):  # in memory, or closed
        own = False
    if not own:
        yield
        return
    shown.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding=shown.encoding, errors=shown.errors)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        sys.stderr.close()
        sys.stderr = shown
