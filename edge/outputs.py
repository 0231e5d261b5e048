"""A folder of outputs that is whole or not there, and the one file alike (see also edge.atomic)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge.atomic import MARK, atomic_path, temporary_name
from edge.errors import EdgeError, InputError

try:
    import fcntl
except ImportError:  # Windows: leftovers stay there
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def output_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path, made at once so that an unwritable place shows before the work; see `atomic_path`.

    Raises InputError where `target` is a folder, EdgeError where the place cannot be written.
    """
    if target.is_dir():
        raise InputError(f"{target} is a folder; name a file for the output")
    with _parents(target, target.parent), atomic_path(target) as temporary:
        remove_leftovers(temporary.parent)
        temporary.touch(exist_ok=False)
        with _held(temporary):
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
    temporary = parent / temporary_name()
    with _parents(target, parent):
        try:
            remove_leftovers(parent)
            temporary.mkdir()
            with _held(temporary):
                yield temporary
            if existing:
                for file in sorted(temporary.iterdir()):
                    os.replace(file, target / file.name)
            else:
                os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _parents(target: Path, folder: Path) -> Iterator[None]:
    """Make `folder`, and take away what was made of it where the block fails; OSErrors become EdgeErrors."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for place in new:
            with contextlib.suppress(OSError):
                place.rmdir()
        if isinstance(error, OSError):
            raise EdgeError(f"cannot write {target}: {error.strerror or error}") from error
        raise


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """InputError where an output is one of the inputs: by name, link, letter case, or any other way to one file."""
    taken = {}
    for source in inputs:
        with contextlib.suppress(OSError):
            taken[_identity(source)] = source
    for output in outputs:
        with contextlib.suppress(OSError):
            same = taken.get(_identity(output))
            if same is not None:
                raise InputError(f"{output} is the input {same}; choose another output")


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left in `folder`: temporary names that no process holds."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(MARK) and ".tmp" in entry.name and not entry.is_symlink():
                with contextlib.suppress(OSError), _held(Path(entry.path), strict=True):
                    if entry.is_dir():
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        os.unlink(entry.path)


@contextlib.contextmanager
def _held(path: Path, strict: bool = False) -> Iterator[None]:
    """Lock `path` against `remove_leftovers` of other processes.

    strict: OSError where another holds it; otherwise a file system without locks will do.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if strict:
                raise
        yield
    finally:
        os.close(descriptor)
