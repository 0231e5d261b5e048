"""Bags of networks as demucs' YAML describes them: `models` (signatures), and where given `weights` and `segment`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import nn

from edge.checkpoints.config_file import read_yaml
from edge.checkpoints.reader import signature
from edge.errors import InputError
from edge.models.htdemucs import HTDemucs


@dataclass(frozen=True)
class BagFile:
    """The members' files in order; weights: one row a member (None: all ones); segment: seconds (None: their own)."""

    files: list[Path]
    weights: list[list[float]] | None
    segment: float | None


def is_bag_file(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml")


def read_bag(path: Path, files: Sequence[Path] = ()) -> BagFile:
    """Read a bag's YAML; its members are `files`, told apart by their signatures, or lie beside it, as demucs has them.

    Raises InputError where the YAML describes no bag, a member is missing, twice there, or damaged, and for a file that
    is none of its members.
    """
    content = read_yaml(path)
    signatures = content.get("models") if isinstance(content, dict) else None
    if not isinstance(signatures, list) or not signatures:
        raise InputError(f"{path}: no bag of models in it (a list `models` of signatures)")
    signatures = [str(name) for name in signatures]
    try:
        weights = content.get("weights")
        weights = None if weights is None else [[float(w) for w in row] for row in weights]
        segment = None if content.get("segment") is None else float(content["segment"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: its weights must be lists of numbers, its segment a number") from error
    members = [_member(path, name, files) for name in signatures]
    for file in files:
        if file not in members:
            raise InputError(f"{path}: {file.name} is no member of this bag ({', '.join(signatures)})")
    return BagFile(members, weights, segment)


def shortened(network: nn.Module, segment: float | None) -> Any:
    """A bag's segment holds for members whose own is not shorter, as demucs has it."""
    if segment is not None and isinstance(network, HTDemucs) and segment <= network.config.segment:
        samples = int(network.config.samplerate * segment)
        network.config = dataclasses.replace(network.config, segment=Fraction(samples, network.config.samplerate))
    return network


def check_alike(paths: Sequence[Path], networks: Sequence[Any]) -> None:
    """Raises InputError where the members of a bag cannot be averaged."""
    first = networks[0]
    for path, network in zip(paths, networks, strict=True):
        if not isinstance(network, HTDemucs):
            raise InputError(f"{path}: a bag is made of HT Demucs networks")
        for key in ("sources", "samplerate", "audio_channels", "segment_samples"):
            ours, theirs = getattr(network.config, key), getattr(first.config, key)
            if ours != theirs:
                raise InputError(f"{path}: {key} {ours} differs from {theirs} of {paths[0].name}: no bag of both")


def _member(path: Path, name: str, files: Sequence[Path]) -> Path:
    candidates = files or [f for f in path.resolve().parent.iterdir() if f.suffix in (".th", ".safetensors")]
    found = [file for file in candidates if file.stem == name or signature(file) == name]
    if len(found) != 1:
        where = "among the files given" if files else "beside it"
        what = "no file" if not found else f"{len(found)} files"
        raise InputError(f"{path}: {what} {where} for its member {name} ({name}.th, {name}-CHECKSUM.th)")
    file = found[0]
    checksum = file.stem.rpartition("-")[2] if "-" in file.stem and file.suffix == ".th" else ""
    with file.open("rb") as stream:
        if not hashlib.file_digest(stream, "sha256").hexdigest().startswith(checksum):
            raise InputError(f"{file}: damaged (its SHA-256 does not start with {checksum}, as its name says)")
    return file
