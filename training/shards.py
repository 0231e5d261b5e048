"""Shards: int16 `.npy` files opened as memory maps, described by one `manifest.json` a folder.

Manifest: `{"format": 1, "kind": "speech" | "music", "sample_rate": int, "items": [item...]}`; an item has
`file, kind ("speech" | "noise" | "song"), split ("train" | "validation" | "test"), group, package, version,
license, seconds, weight`. Speech and noise files have shape (N,), songs (4 stems, 2 channels, N).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge.errors import InputError

SPLITS = ("train", "validation", "test")
SCALE = 32768.0


@dataclass(frozen=True)
class Item:
    """One shard: all audio of one speaker, noise group or song."""

    file: str
    kind: str
    split: str
    group: str
    package: str
    version: str
    license: str
    seconds: float
    weight: float = 1.0  # how often it is drawn, relative to its length


def write_shard(folder: Path, name: str, audio: np.ndarray) -> str:
    """Write float `audio` (..., N) in [-1, 1) as int16; return the file name. Clips, never wraps."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npy"
    partial = path.with_suffix(".part")
    with partial.open("wb") as out:
        np.save(out, np.clip(np.round(audio * SCALE), -32768, 32767).astype(np.int16))
    os.replace(partial, path)
    return path.name


def write_manifest(folder: Path, kind: str, sample_rate: int, items: list[Item]) -> None:
    """Write `manifest.json` beside the shards, in one step."""
    content = {"format": 1, "kind": kind, "sample_rate": sample_rate, "items": [asdict(i) for i in items]}
    partial = folder / "manifest.json.part"
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    os.replace(partial, folder / "manifest.json")


def read_manifest(folder: Path) -> list[Item]:
    """Items of a data folder. Raises InputError when there is none or it is not one of ours."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{path} not found: make it with edge-train data {folder.name} --out {folder.parent}")
    try:
        content = json.loads(path.read_text())
        if content["format"] != 1:
            raise InputError(f"{path} has format {content['format']}, this version reads 1")
        return [Item(**item) for item in content["items"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a training-data manifest: {error}") from error


def open_shard(folder: Path, item: Item) -> np.ndarray:
    """Read-only int16 memory map of one item."""
    return np.load(folder / item.file, mmap_mode="r", allow_pickle=False)
