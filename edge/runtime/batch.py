"""Which files a run makes of which: names, folders, and that nothing of value is written over."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.audio import OUTPUT_FORMATS
from edge.audio.media import what_media
from edge.bundle import Manifest
from edge.errors import InputError
from edge.outputs import refuse_inputs
from edge.runtime.files import FileOptions

_NAME_BYTES = 255  # that a file system takes, nearly everywhere
_FIELDS = ("stem", "parent", "source")
_HEADS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b".snd", b"riff", b"caff", b"OggS", b"fLaC", b"ID3")
_EXTENSIONS = {kind.extension for kind in OUTPUT_FORMATS.values()} | {".aif"}


@dataclass(frozen=True)
class Job:
    """One recording and what becomes of it. target: a file or a folder of stems; files: all that is written.

    chosen: the tool chose the names, so they replace nothing.
    """

    source: Path
    target: Path
    files: tuple[Path, ...]
    chosen: bool

    @property
    def there(self) -> list[Path]:
        """Which of `files` exist."""
        return [file for file in self.files if os.path.lexists(file)]


@dataclass(frozen=True)
class Places:
    """Where results go. output: as the user wrote it; None: beside each input. template: of the names."""

    output: str | None = None
    template: str | None = None
    recursive: bool = False


def plan(manifest: Manifest, inputs: Sequence[Path], places: Places, options: FileOptions) -> list[Job]:
    """A job for each recording, in order; nothing is touched.

    Raises InputError where an input is to be written over, two results would have one name, a folder holds no
    recordings, or a name cannot be made.
    """
    found = [(file, root) for path in inputs for file, root in _expanded(path, places.recursive)]
    jobs = [_job(manifest, file, root, len(found), places, options) for file, root in found]
    if any(path.is_dir() for path in inputs):
        jobs = _without_results(jobs, set(inputs))
    made: dict[str, Path] = {}
    for job in jobs:
        for file in job.files:
            key = os.path.realpath(file)
            if key in made:
                both = f"{made[key]} and {job.source} would both become {job.target}"
                raise InputError(f'{both}; give names by --name "{{parent}}-{{stem}}"')
            made[key] = job.source
    refuse_inputs([file for job in jobs for file in job.files], [job.source for job in jobs])
    return jobs


def _expanded(path: Path, recursive: bool) -> list[tuple[Path, Path | None]]:
    """The recordings that `path` stands for, each with the folder that was named."""
    if not path.is_dir():
        return [(path, None)]
    if not recursive:
        raise InputError(f"{path} is a folder, not a file; --recursive takes all recordings in it")
    return [(file, path) for file in recordings_in(path)]


def recordings_in(folder: Path) -> list[Path]:
    """All recordings in `folder` and its folders but hidden ones, sorted. Raises InputError where there is none."""
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    recordings = [file for file in files if file.is_file() and _is_recording(file)]
    if not recordings:
        raise InputError(f"{folder}: there are no recordings in the folder")
    return recordings


def _is_recording(file: Path) -> bool:
    """By its first bytes."""
    try:
        with file.open("rb") as opened:
            head = opened.read(12)
        is_mpeg = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
        return is_mpeg or head.startswith(_HEADS) or what_media(file) is not None
    except OSError:
        return True  # its failure shall be told


def _job(manifest: Manifest, source: Path, root: Path | None, count: int, places: Places, options: FileOptions) -> Job:
    into_file = options.into_file(manifest)
    output = places.output
    if output is not None and into_file and not _is_folder(output):
        if count > 1 or root is not None:
            raise InputError(f"{output} is one file, and there are {count} inputs; name a folder: {output}/")
        return Job(source, Path(output), (Path(output),), False)
    folder = source.parent if output is None else Path(output)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the output")
    if output is not None and root is not None and places.template is None:
        folder = folder / source.parent.relative_to(root)  # as the inputs lie
    if places.template is None:
        end = f"_{options.source or 'enhanced'}{options.extension}" if into_file else "_stems"
        target = folder / (fitting(source.stem, end) + end)
    else:
        name = _named(places.template, source, options)
        end = options.extension if into_file else ""
        target = folder / (fitting(name, end) + end)
    files = (target,) if into_file else tuple(target / name for name in options.stems(manifest))
    return Job(source, target, files, True)


def _is_folder(output: str) -> bool:
    return Path(output).is_dir() or output.endswith(("/", os.sep)) or Path(output).suffix == ""


def _named(template: str, source: Path, options: FileOptions) -> str:
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        values = {"stem": source.stem, "parent": source.absolute().parent.name, "source": options.source or ""}
        name = template.format(**values) if set(fields) <= set(_FIELDS) else ""
    except (ValueError, KeyError, IndexError):
        name = ""
    if not name or name in (".", "..") or "/" in name or os.sep in name:
        known = ", ".join(f"{{{field}}}" for field in _FIELDS)
        raise InputError(f"--name {template!r} makes no file name; it takes {known}")
    return name


def fitting(name: str, end: str) -> str:
    """As much of `name` as leaves room for `end`, and for a stem's temporary name, cut between characters."""
    room = _NAME_BYTES - len(os.fsencode(end))
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return name


def _without_results(jobs: list[Job], named: set[Path]) -> list[Job]:
    """Without recordings that an earlier run made: they lie where results of the others go."""
    files = {os.path.realpath(file) for job in jobs for file in job.files}
    return [job for job in jobs if job.source in named or os.path.realpath(job.source) not in files]
