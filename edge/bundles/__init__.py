"""The bundles that come with stem-edge: both models, pruned by half and quantized, made by `make bundles`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = FOLDER / "sources.json"  # bundle -> SHA-256 of the weights that it was made of


def shipped() -> list[str]:
    """Their names."""
    return sorted(place.parent.name for place in FOLDER.glob("*/manifest.json"))


def find_bundle(path: str | Path) -> Path:
    """`path` where something is there, else `path`.edge, else the shipped bundle of that name, else `path`."""
    path = Path(path)
    zipped = path.with_name(f"{path.name}.edge") if path.name else path
    if path.exists() or not path.name:
        return path
    if zipped.is_file():
        return zipped
    return FOLDER / path if str(path) in shipped() else path


def list_bundles() -> str:
    """A table: name, what it does, rate, backends, size."""
    rows = [("name", "task", "audio", "precision", "backends", "MB")]
    for name in shipped():
        manifest = json.loads((FOLDER / name / "manifest.json").read_text())
        size = sum(record["bytes"] for record in manifest["files"].values())
        kind = "mono" if manifest["channels"] == 1 else "stereo"
        audio = f"{manifest['sample_rate'] / 1000:g} kHz {kind}"
        sources = ", ".join(manifest["sources"])
        task = "enhance speech" if manifest["task"] == "enhance" else f"split: {sources}"
        graphs = manifest["graphs"]
        made_in = dict.fromkeys(graph.get("precision", manifest["precision"]) for graph in graphs.values())
        rows.append((name, task, audio, ", ".join(made_in), ", ".join(graphs), f"{size / 1e6:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def weights_digest(weights: Path) -> str:
    """SHA-256 of a checkpoint."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def record_sources(weights: Path) -> None:
    """Note of what the bundles were made: {name: digest of `weights`/NAME-p50.safetensors}."""
    made = {name: weights_digest(weights / f"{name}-p50.safetensors") for name in shipped()}
    SOURCES.write_text(json.dumps(made, indent=2) + "\n")


def stale(weights: Path) -> list[str]:
    """Names of bundles whose weights have changed since."""
    made = json.loads(SOURCES.read_text()) if SOURCES.is_file() else {}
    return [name for name in shipped() if made.get(name) != weights_digest(weights / f"{name}-p50.safetensors")]
