"""Files that exist only when they are complete: written under a temporary name in the same folder, then renamed."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from edge.errors import EdgeError

MARK = ".edge-"  # what all temporary names begin with


def temporary_name(suffix: str = "") -> str:
    """A hidden name that fits wherever the final one fits."""
    return f"{MARK}{uuid.uuid4().hex[:8]}.tmp{suffix}"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` to write to (same suffix), renamed to `path` on success, removed on failure.

    A symbolic link stays one: the file that it points to is written. Raises EdgeError where the file cannot be
    written (full disk, no permission).
    """
    final = Path(os.path.realpath(path)) if path.is_symlink() else path
    temporary = final.with_name(temporary_name(final.suffix))
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, final)
    except OSError as error:
        raise EdgeError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
