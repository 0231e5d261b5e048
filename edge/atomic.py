"""Files that exist only when they are complete: written under a temporary name in the same folder, then renamed."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from edge.errors import EdgeError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` to write to (same suffix), renamed to `path` on success, removed on failure.

    Raises EdgeError where the file cannot be written (full disk, no permission).
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise EdgeError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
