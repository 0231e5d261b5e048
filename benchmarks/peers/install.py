"""Environments of the peers: a virtual environment each in `build/peers`, so that none can break another."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from edge.benchmarks.peers.catalogue import Peer
from edge.errors import EdgeError, InputError

FOLDER = Path("build/peers")
DONE = "installed.txt"  # written last: what is in the environment


def python_of(peer: Peer, folder: Path = FOLDER) -> Path:
    """The peer's Python. Raises InputError where it is not installed, or was for another version of this list."""
    place = folder / peer.environment
    done = place / DONE
    if not done.is_file() or done.read_text() != _wanted(peer):
        raise InputError(f"{peer.name} is not installed: python -m edge.benchmarks.peers install {peer.name}")
    return _python(place)


def version_of(peer: Peer, folder: Path = FOLDER) -> str:
    """Name and version of the peer's package, as its environment has it; "" where it is not found."""
    places = [str(place) for place in (folder / peer.environment).glob("[Ll]ib/**/site-packages")]
    found = importlib.metadata.distributions(path=places)
    return ", ".join(sorted(f"{d.name} {d.version}" for d in found if _normal(d.name) == _normal(peer.package)))


def install(
    peers: Sequence[Peer], folder: Path = FOLDER, progress: Callable[[str], None] = lambda _: None
) -> list[tuple[Peer, str]]:
    """Make the environments that are missing; returns the peers that could not be installed, with one line why."""
    failed = []
    for peer in peers:
        place = folder / peer.environment
        if (place / DONE).is_file() and (place / DONE).read_text() == _wanted(peer):
            continue
        progress(peer.environment)
        try:
            _make(place, peer)
        except EdgeError as error:
            failed.append((peer, str(error)))
    return failed


def _make(place: Path, peer: Peer) -> None:
    shutil.rmtree(place, ignore_errors=True)
    try:
        venv.create(place, with_pip=False, symlinks=os.name != "nt")
    except OSError as error:
        raise EdgeError(f"{place} cannot be made: {error.strerror or error}") from error
    _pip(place, list(peer.requirements))
    _pip(place, ["--no-deps", peer.package])
    (place / DONE).write_text(_wanted(peer))


def _pip(place: Path, arguments: list[str]) -> None:
    """This environment's pip, working in the other."""
    command = [sys.executable, "-m", "pip", "--python", str(_python(place)), "install", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise EdgeError(f"pip install {' '.join(arguments)} failed: {(lines or ['no message'])[-1][:200]}")


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _wanted(peer: Peer) -> str:
    return "\n".join([*peer.requirements, peer.package]) + "\n"


def _python(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
