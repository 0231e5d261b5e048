"""Evaluation on the test split: voices, noises and songs that training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from edge.benchmarks.peers.ours import separate as separate_song
from edge.benchmarks.peers.ours import song_manifest
from edge.checkpoints import load_checkpoint
from edge.errors import InputError
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs
from edge.training.losses import sdr, si_sdr
from edge.training.mixing import SongMixer, SpeechMixer
from edge.training.shards import SCALE

SNRS_DB = (0, 5, 10)
SONGS = 20
SILENT = 1e-7  # mean power below which a stem has no SDR


def evaluate(name: str, data: Path, checkpoint: Path | None = None) -> dict:
    """Report of a model ("enhancer" or "htdemucs-mini") on the test split of `data`.

    checkpoint: safetensors file, or None for the shipped weights. Raises InputError for a missing or foreign one.
    """
    path = checkpoint or Path(str(files("edge.weights") / f"{name}.safetensors"))
    model = load_checkpoint(path)
    if name == "htdemucs-mini" and isinstance(model, HTDemucs):
        report = _separator(model, data / "music")
    elif name == "enhancer" and isinstance(model, Enhancer):
        report = _enhancer(model, data / "speech")
    else:
        raise InputError(f"{path} is not a checkpoint of {name}")
    return {"model": name, "checkpoint": path.name, "split": "test"} | report


@torch.no_grad()
def _enhancer(model: Enhancer, folder: Path, clips: int = 40, seconds: int = 5) -> dict:
    mixer = SpeechMixer(folder, "test", seconds * 16000)
    rows = []
    for snr in SNRS_DB:
        rng = np.random.default_rng([11, snr])
        before, after = [], []
        for _ in tqdm(range(clips), desc=f"{snr} dB", leave=False):
            noisy, clean = (torch.from_numpy(x)[None].float() for x in mixer.at_snr(rng, snr))
            before.append(si_sdr(noisy, clean).item())
            after.append(si_sdr(model.enhance(noisy), clean).item())
        rows.append(_row(str(snr), before, after, "snr_db"))
    overall = {k: round(float(np.mean([r[k] for r in rows])), 2) for k in ("before", "after", "gain")}
    return {"metric": "SI-SDR", "unit": "dB", "clips_per_snr": clips, "rows": rows, "mean": overall}


@torch.no_grad()
def _separator(model: HTDemucs, folder: Path) -> dict:
    mixer = SongMixer(folder, "test", model.config.segment_samples)
    songs = mixer.songs[:SONGS]
    before: dict[str, list[float]] = {s: [] for s in model.config.sources}
    after: dict[str, list[float]] = {s: [] for s in model.config.sources}
    for _, song in tqdm(songs, desc="songs", leave=False):
        stems = torch.from_numpy(song.astype(np.float32) / SCALE)
        mix = stems.sum(0)
        estimate = separate(model, mix)
        for k, source in enumerate(model.config.sources):
            if stems[k].square().mean() > SILENT:
                reference = stems[k].reshape(-1)
                before[source].append(sdr(mix.reshape(-1), reference).item())
                after[source].append(sdr(estimate[k].reshape(-1), reference).item())
    rows = [_row(s, before[s], after[s], "source") for s in model.config.sources if before[s]]
    overall = {k: round(float(np.mean([r[k] for r in rows])), 2) for k in ("before", "after", "gain")}
    return {"metric": "SDR", "unit": "dB", "songs": len(songs), "rows": rows, "mean": overall}


@torch.no_grad()
def separate(model: HTDemucs, mix: torch.Tensor) -> torch.Tensor:
    """Separate a whole song (2, N) into (S, 2, N), by the runtime's own loop over overlapping segments."""
    config = model.config
    manifest = song_manifest(44100, list(config.sources), mix.shape[0], config.segment_samples)

    def graph(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [model(torch.from_numpy(inputs[0])).numpy()]

    return torch.from_numpy(separate_song(manifest, graph, mix.numpy()))


def table(report: dict) -> str:
    """The report as a Markdown table."""
    key = "snr_db" if "snr_db" in report["rows"][0] else "source"
    lines = [f"| {key.replace('_db', ' (dB)')} | input {report['metric']} | output | gain (dB) |", "|---|---|---|---|"]
    for row in [*report["rows"], {key: "mean"} | report["mean"]]:
        lines.append(f"| {row[key]} | {row['before']:.2f} | {row['after']:.2f} | {row['gain']:+.2f} |")
    return "\n".join(lines)


def _row(label: str, before: list[float], after: list[float], key: str) -> dict:
    first, second = float(np.mean(before)), float(np.mean(after))
    return {key: label, "before": round(first, 2), "after": round(second, 2), "gain": round(second - first, 2)}
