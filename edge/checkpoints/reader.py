"""A user's checkpoint as a network: ours, or an HT Demucs in any of the forms in which these are saved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge.checkpoints.config_file import from_json, json_arguments, read_config
from edge.checkpoints.contents import Contents, find_network
from edge.checkpoints.own import build_own, is_safetensors, read_safetensors
from edge.checkpoints.settings import (
    ASKED,
    CONSTRUCTOR,
    MissingSettings,
    Origin,
    complete,
    outputs,
    to_config,
)
from edge.checkpoints.torch_file import read_torch
from edge.errors import InputError
from edge.models.htdemucs import HTDemucs

OFFICIAL_LICENSE = (
    "Official HT Demucs weights: provided only for scientific purposes by their author "
    "(facebookresearch/demucs#327, #508); do not redistribute"
)
UNKNOWN_LICENSE = "as given by the provider of the checkpoint"
# Signature of each released HT Demucs (before the dash in its file's name), and the start of its SHA-256 (after it).
OFFICIAL = {
    "955717e8": "8726e21a",
    "f7e0c4bc": "ba3fe64a",
    "d12395a8": "e57c48e6",
    "92cfc3b6": "ef3bcb9c",
    "04573f0d": "f3cf25b2",
    "75fc33f5": "1941ce65",
    "5c90dfd2": "34c22ccb",
}

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Stated:
    """What a user says about checkpoints.

    config: a YAML or JSON file, or the name of a released network; settings: arguments of demucs' constructor (see
    `settings.ASKED`); state: which of several networks in a file; license: of the weights.
    """

    config: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    state: str | None = None
    license: str | None = None


def load_any(path: Path | str, expected: str | None = None, stated: Stated | None = None) -> tuple[nn.Module, dict]:
    """Read a user's checkpoint: ours, or an HT Demucs as demucs, its forks, Lightning and others save it.

    expected: "htdemucs" or "enhancer", the kind of network wanted (None: either). Returns the model, in eval mode,
    fp32, on the CPU, and its metadata: text, and `origin` (see `settings.Origin.record`). Raises InputError, one line,
    for a missing, damaged or foreign file, one of another model, and one whose settings are not all known.
    """
    path, stated = Path(path), stated or Stated()
    if not path.is_file():
        what = "a folder, not a checkpoint file" if path.is_dir() else "no such checkpoint file"
        raise InputError(f"{path}: {what}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the checkpoint is empty")
    safetensors = is_safetensors(path)
    content, metadata = read_safetensors(path) if safetensors else (read_torch(path), {})
    if "model" in metadata:
        if expected not in (None, metadata["model"]):
            raise InputError(f"{path}: a checkpoint of another model ({metadata['model']}); expected {expected}")
        if stated.config or set(stated.settings) - {"segment"} or stated.state:
            raise InputError(f"{path}: a stem-edge checkpoint tells its settings itself; leave out what was given")
        licensed = {"weights_license": stated.license} if stated.license else {}
        return build_own(path, metadata["model"], metadata, content), {**metadata, **licensed}
    if expected == "enhancer":
        raise InputError(f"{path}: a checkpoint of another model; expected an enhancer trained by stem-edge")
    try:
        found = _find(content, metadata, stated.state)
        network, origin = _network(found, stated)
    except MissingSettings as error:
        raise InputError(f"{path}: {_asking(error, found.state)}") from error
    except (RuntimeError, KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError) as error:
        reason = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
        detail = reason[1] if len(reason) > 1 and "state_dict" in reason[0] else reason[0] if reason else repr(error)
        raise InputError(f"{path}: the checkpoint does not fit the htdemucs network: {detail[:300]}") from error
    official = official_signature(path) is not None
    license = stated.license or (OFFICIAL_LICENSE if official else UNKNOWN_LICENSE)
    record = {"file": path.name, "sha256": _sha256(path), **origin.record()}
    return network, {"weights_license": license, "origin": record}


def _find(content: Any, metadata: Mapping[str, str], wanted: str | None) -> Contents:
    if "structure" in metadata:
        raise ValueError("a DiffQ-quantized network, which is not supported; give the full-precision one")
    if "klass" in metadata:
        content = {**json_arguments(metadata), "state": content}
    elif "kwargs" in metadata or "config" in metadata:
        texts = {key: from_json(key, metadata[key]) for key in ("args", "kwargs", "config") if key in metadata}
        content = {**texts, "state": content}
    return find_network(content, wanted)


def _network(found: Contents, stated: Stated) -> tuple[nn.Module, Origin]:
    """The network and where its settings come from; MissingSettings where one is unknown, ValueError for unfit ones."""
    told = dict(stated.settings)
    whole = found.complete
    if stated.config is not None:
        settings, extent = read_config(stated.config)
        told = settings | told
        whole = whole or extent != "part"
    read = dict(found.settings or {})
    origin = Origin(read=read, notes=found.notes)
    said = (CONSTRUCTOR if found.complete else {}) | read
    for key, value in told.items():
        if key in said and not _same(said[key], value) and key != "segment":
            raise ValueError(f"the file says {key}={said[key]!r}, not {value!r}")
    origin.given = {key: value for key, value in told.items() if key not in read}
    known = {**told, **read}
    if whole:
        origin.default = {key: value for key, value in CONSTRUCTOR.items() if key not in known}
        known = CONSTRUCTOR | known
    else:
        known = complete(found.state, known, origin)
    config = to_config(known)
    made = outputs(found.state)
    if made != len(config.sources):
        raise ValueError(f"it separates {made} sources, but {len(config.sources)} are named")
    state = {key: value for key, value in found.state.items()}
    for key, value in state.items():
        if value.dtype not in _FLOATS or value.layout != torch.strided:
            raise ValueError(f"{key} holds no plain floating-point numbers ({value.dtype})")
        if not torch.isfinite(value).all():
            raise ValueError(f"NaN or Inf values (first in {key})")
    network = HTDemucs(config)
    network.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)
    return network.eval(), origin


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return one == other


def _asking(error: MissingSettings, state: Mapping[str, torch.Tensor]) -> str:
    options = []
    for key in error.keys:
        example = ",".join("abcdefgh"[: outputs(state)]) if key == "sources" else "X"
        options.append(f"{ASKED[key]} {example}")
    return (
        f"the file does not tell {', '.join(error.keys)}: give {' '.join(options)}, or --config FILE (the training's "
        "YAML, or JSON of the constructor's arguments; for a fine-tune of a released network its name: htdemucs)"
    )


def official_signature(path: Path) -> str | None:
    """Of a released file, by its name or, where it was renamed, by its content; None for any other."""
    if signature(path) in OFFICIAL:
        return signature(path)
    checksum = _sha256(path)[:8]
    return next((name for name, known in OFFICIAL.items() if known == checksum), None)


def signature(path: Path) -> str:
    """The part of a demucs file's name that says which network it is: SIGNATURE-CHECKSUM.th, SIGNATURE.safetensors."""
    return path.stem.split("-")[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
