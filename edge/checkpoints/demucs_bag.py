"""Bags of networks as demucs' YAML describes them: `models` (signatures), and where given `weights` and `segment`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.checkpoints.config_file import read_yaml
from edge.checkpoints.reader import signature
from edge.errors import InputError


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

    Raises InputError where the YAML describes no bag, a member is missing, twice there, or damaged.
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
    return BagFile([_member(path, name, files) for name in signatures], weights, segment)


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
