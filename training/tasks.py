"""The two training tasks: the enhancer on noisy speech, htdemucs-mini on songs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from edge.checkpoints import save_checkpoint
from edge.metrics import log_spectral_distance
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDEMUCS_MINI, HTDemucs
from edge.training.loop import Task, chosen
from edge.training.losses import enhancer_loss, sdr, separation_loss, si_sdr, stft_loss
from edge.training.mixing import SongMixer, SpeechMixer, deviation
from edge.training.pesq_loss import pesq_mos
from edge.training.rooms import load_rooms
from edge.training.shards import read_manifest
from edge.training.speech_mixing import SpeechBatches

FILTERBANK_RATE = 0.03  # of the common learning rate
NAMES = ("enhancer", "htdemucs-mini")


def describe_data(folder: Path) -> dict[str, str]:
    """Checkpoint metadata: what it was trained on and under which licences."""
    items = [i for i in read_manifest(folder) if i.split == "train"]
    hours = sum(i.seconds for i in items) / 3600
    sources = sorted({f"{i.package} ({i.license})" for i in items})
    return {
        "training_data": f"{len(items)} shards, {hours:.1f} h: " + "; ".join(sources),
        "weights_license": "MIT (weights); the training recordings keep their own licences",
    }


def enhancer_optimizers(model: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices, AdamW for all else; the filterbank learns at a rate of its own.

    Adam moves a weight by about the learning rate, whatever its size: at the common rate it scrambles the Fourier
    bases, whose entries are 0.06, within a hundred steps.
    """
    filterbank, matrices, others = [], [], []
    for name, parameter in model.named_parameters():
        if name.startswith(("analysis", "synthesis")):
            filterbank.append(parameter)
        elif parameter.dim() == 2 and name.endswith("weight") and "bias" not in name:
            matrices.append(parameter)
        else:
            others.append(parameter)
    groups = [{"params": others}, {"params": filterbank, "lr": FILTERBANK_RATE * learning_rate}]
    return [
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=1e-2, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, lr=learning_rate, weight_decay=1e-4, betas=(0.9, 0.98)),
    ]


def enhancer_task(
    data: Path, batch: int = 10, seconds: float = 2.4, learning_rate: float = 2e-3, device: str = "auto"
) -> Task:
    """Noisy, at times reverberant, clipped or band-limited speech in; the voice's direct path out."""
    folder, samples = data / "speech", int(seconds * 16000)
    bank = load_rooms(data)
    mixer = SpeechBatches(folder, "train", samples, None if bank is None else torch.from_numpy(bank), chosen(device))
    held_out = SpeechMixer(folder, "validation", 4 * 16000, load_rooms(data, "validation"))
    rng = np.random.default_rng(99)
    pairs = [held_out.at_snr(rng, snr) for snr in (0, 5, 10) for _ in range(12)]
    echoes = [held_out.in_room(rng, 20) for _ in range(12)] if held_out.rooms is not None else []
    narrow = [held_out.low_passed(rng) for _ in range(12)]
    notes = describe_data(folder)

    def draw(generator: np.random.Generator) -> dict[str, Tensor]:
        noisy, clean = mixer.draw(batch, int(generator.integers(2**62)))
        return {"noisy": noisy, "clean": clean}

    def loss(model: nn.Module, examples: dict[str, Tensor]) -> Tensor:
        return enhancer_loss(cast(Enhancer, model).enhance(examples["noisy"]), examples["clean"], examples["noisy"])

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        metrics = {}
        for name, examples in (("", pairs), ("reverb_", echoes)):
            if examples:
                noisy, clean = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*examples, strict=True))
                enhanced = cast(Enhancer, model).enhance(noisy)
                metrics[f"{name}si_sdr_gain_db"] = (si_sdr(enhanced, clean) - si_sdr(noisy, clean)).mean().item()
                before, after = (stft_loss(x, clean, (512,)).item() for x in (noisy, enhanced))
                metrics[f"{name}spectral_gain"] = 1 - after / before
                metrics[f"{name}pesq"] = pesq_mos(enhanced, clean).mean().item()
        given, wide = (np.stack(part) for part in zip(*narrow, strict=True))
        enhanced = cast(Enhancer, model).enhance(torch.from_numpy(given).to(device)).cpu().numpy()
        before, after = (np.mean([*map(log_spectral_distance, wide, x)]) for x in (given, enhanced))
        return metrics | {"band_gain": float(1 - after / before)}

    return Task(
        "enhancer",
        Enhancer(),
        draw,
        loss,
        validate,
        lambda path, m: save_checkpoint(path, m, notes, precision="fp16"),
        learning_rate,
        optimizers=enhancer_optimizers,
        audio=batch * seconds,
    )


def separator_task(data: Path, batch: int = 2, seconds: float = 2.0, learning_rate: float = 3e-3) -> Task:
    """Remixed stems. Crops may be shorter than the network's segment: on a small machine, more steps help more."""
    folder = data / "music"
    mixer = SongMixer(folder, "train", int(Fraction(seconds) * 44100))
    held_out = SongMixer(folder, "validation", HTDEMUCS_MINI.segment_samples)
    notes = describe_data(folder)

    def normalised(stems: np.ndarray) -> dict[str, Tensor]:
        mix = stems.sum(axis=1)
        scale = deviation(mix)
        return {"mix": torch.from_numpy(mix / scale), "stems": torch.from_numpy(stems / scale[:, None])}

    def draw(generator: np.random.Generator) -> dict[str, Tensor]:
        return normalised(np.stack([mixer.stems(generator) for _ in range(batch)]))

    def loss(model: nn.Module, examples: dict[str, Tensor]) -> Tensor:
        return separation_loss(model(examples["mix"]), examples["stems"])

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        gains: list[list[float]] = [[], [], [], []]
        for k, (_, song) in enumerate(held_out.songs[:10]):
            start = (k * 3 % 20 + 6) * 44100
            crop = song[None, ..., start : start + held_out.samples].astype(np.float32) / 32768
            example = {k: v.to(device) for k, v in normalised(crop).items()}
            stems = model(example["mix"])[0]
            for s, values in enumerate(gains):
                reference = example["stems"][0, s].reshape(-1)
                if reference.square().mean() > 1e-3:  # SDR means nothing for a silent stem
                    before = sdr(example["mix"][0].reshape(-1), reference)
                    values.append((sdr(stems[s].reshape(-1), reference) - before).item())
        means = {f"gain_{n}_db": float(np.mean(v)) for n, v in zip(HTDEMUCS_MINI.sources, gains, strict=True) if v}
        return {"sdr_gain_db": float(np.mean(list(means.values())))} | means

    return Task(
        "htdemucs-mini",
        HTDemucs(HTDEMUCS_MINI),
        draw,
        loss,
        validate,
        lambda path, m: save_checkpoint(path, m, notes, precision="fp16"),
        learning_rate,
        bf16=True,
        audio=batch * seconds,
    )
