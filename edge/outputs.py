"""A folder of outputs that is whole or not there, and the one file alike (see also edge.atomic)."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from edge.atomic import atomic_path
from edge.errors import EdgeError, InputError


@contextlib.contextmanager
def output_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path, made at once so that an unwritable place shows before the work; see `atomic_path`.

    Raises InputError where `target` is a folder, EdgeError where the place cannot be written.
    """
    if target.is_dir():
        raise InputError(f"{target} is a folder; name a file for the output")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeError(f"cannot write {target}: {error.strerror or error}") from error
    with atomic_path(target) as temporary:
        temporary.touch(exist_ok=False)
        yield temporary


@contextlib.contextmanager
def output_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder; its files appear in `target` only when the block ends well.

    A new `target` appears by one rename. In an existing one each file replaces its namesake and others stay.
    Raises InputError where `target` is a file, EdgeError where the place cannot be written.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; name a folder for the output")
    existing = target.is_dir()
    # Inside an existing target: it may be a mount point, over which nothing can be renamed.
    parent = target if existing else target.parent
    temporary = parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if existing:
            for file in sorted(temporary.iterdir()):
                os.replace(file, target / file.name)
        else:
            os.rename(temporary, target)
    except OSError as error:
        raise EdgeError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
