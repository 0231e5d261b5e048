"""All recordings of one split in one tensor, so that a batch of crops is one gather on the training device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge.errors import InputError
from edge.training.shards import SCALE, open_shard, read_manifest


class Corpus:
    """int16 audio of the items of one kind and split of a speech data folder.

    Items are drawn with odds that grow with the square root of their length (small voices are heard, large ones not
    worn out), times the weight of their source.

    Raises InputError where the folder has none.
    """

    def __init__(self, folder: Path, kind: str, split: str, device: str | torch.device = "cpu"):
        items = [i for i in read_manifest(folder) if i.kind == kind and i.split == split]
        if not items:
            raise InputError(f"{folder} has no {kind} for {split}")
        shards = [open_shard(folder, item) for item in items]
        lengths = torch.tensor([len(s) for s in shards])
        weights = torch.tensor([i.weight for i in items])
        self.audio = torch.from_numpy(np.concatenate(shards)).to(device)
        self.lengths = lengths.to(device)
        self.starts = (torch.cumsum(lengths, 0) - lengths).to(device)
        self.odds = (lengths.double().sqrt() * weights).float().to(device)
        self.items = items

    def crops(self, count: int, samples: int, generator: torch.Generator) -> Tensor:
        """float32 (count, samples): random crops of random items; an item that is shorter repeats."""
        device = self.audio.device
        item = torch.multinomial(self.odds, count, replacement=True, generator=generator)
        length = self.lengths[item]
        room = (length - samples).clamp_min(0) + (length < samples) * length
        offset = (torch.rand(count, device=device, generator=generator, dtype=torch.float64) * room).long()
        index = (offset[:, None] + torch.arange(samples, device=device)) % length[:, None] + self.starts[item][:, None]
        return self.audio[index].float() / SCALE
