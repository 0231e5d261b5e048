"""The systems that an evaluation sets side by side, and the scores of what they make of each clip, kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import metrics
from edge.benchmarks.peers.catalogue import Peer
from edge.benchmarks.peers.client import Launch, bundle_launch, checkpoint_launch, peer_launch
from edge.benchmarks.peers.install import version_of
from edge.benchmarks.quality import metrics as figures
from edge.errors import InputError
from edge.zoo import WEIGHTS

OURS = "ours"
_SOURCES = (figures.__file__, metrics.__file__)
_METRICS = hashlib.sha256(b"".join(Path(file).read_bytes() for file in _SOURCES)).hexdigest()[:12]


@dataclass(frozen=True)
class System:
    """One column of the tables. `launch` None: the unprocessed input. `key` changes when the system does."""

    name: str
    title: str
    key: str
    launch: Launch | None = None
    about: str = ""


def our_system(model: str, checkpoint: Path | None, bundle: Path | None, backend: str = "") -> System:
    """A bundle, a checkpoint, or the shipped weights of `model` ("enhancer" or "htdemucs-mini").

    Raises InputError for a file that is missing or of another model.
    """
    if bundle is not None:
        from edge.bundle import open_bundle
        from edge.runtime.graphs import default_backend

        opened = open_bundle(bundle)
        manifest = opened.manifest
        if (manifest.task == "enhance") != (model == "enhancer"):
            raise InputError(f"{bundle} is a bundle of another task than {model} ({manifest.task})")
        key = _digest(json.dumps(manifest.files, default=vars, sort_keys=True).encode() + backend.encode())
        used = backend or default_backend(opened)
        opened.graph_path(used)  # an InputError where there is none
        title = f"{manifest.name} ({manifest.graphs[used].made_in()} bundle)"
        return System(OURS, title, key, bundle_launch(OURS, bundle, backend))
    path = checkpoint or WEIGHTS / f"{model}.safetensors"
    from edge.checkpoints import load_any

    load_any(path, "enhancer" if model == "enhancer" else "htdemucs")
    title = model if checkpoint is None else f"{model} ({path.name})"
    return System(OURS, title, _digest(path.read_bytes()), checkpoint_launch(OURS, path))


def peer_systems(peers: Sequence[Peer]) -> tuple[list[System], list[str]]:
    """The installed peers as systems, and one line for each that is not."""
    systems, missing = [], []
    for peer in peers:
        try:
            launch = peer_launch(peer)
        except InputError as error:
            missing.append(str(error))
            continue
        adapter = Path(__file__).parent / peer.adapter.split(":")[0]
        key = _digest("|".join([peer.package, peer.adapter, adapter.name]).encode())
        systems.append(System(peer.name, peer.title, key, launch, version_of(peer)))
    return systems, missing


class Scores:
    """Scores by system and clip, appended to `path` as they come (JSON lines), so that a stopped run goes on.

    Without a path nothing is kept. A system or clip that changed has another key: it is scored again. So is everything
    when the metrics' code has changed.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                    if entry["metrics"] == _METRICS:
                        self._known[entry["system"], entry["clip"]] = entry["scores"]
                except (ValueError, KeyError, TypeError):
                    continue  # a line cut off when the run was stopped

    def get(self, system: System, clip: str) -> dict[str, Any] | None:
        return self._known.get((_name(system), clip))

    def add(self, system: System, clip: str, scores: dict[str, Any]) -> None:
        self._known[_name(system), clip] = scores
        if self._path is not None:
            with self._path.open("a") as file:
                entry = {"system": _name(system), "clip": clip, "metrics": _METRICS, "scores": scores}
                file.write(json.dumps(entry) + "\n")


def _name(system: System) -> str:
    return f"{system.name}-{system.key}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
