"""How HT Demucs is pruned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edge import samples
from edge.compression.architectures.record import Pruning
from edge.compression.groups import Branch, ChannelGroup
from edge.compression.htdemucs_groups import branches, prune_seeds, settle_heads, trace_arguments
from edge.compression.importance import CLIP_SECONDS, cut


def groups(network: Any) -> list[ChannelGroup]:
    return list(prune_seeds(network))


def removable(network: Any) -> list[Branch]:
    return list(branches(network))


def clips(network: Any) -> list[Tensor]:
    """Music (1, C, n)."""
    c = network.config
    audio = samples.music(c.samplerate, c.audio_channels)
    return [clip[None] for clip in cut(audio, min(int(CLIP_SECONDS * c.samplerate), c.segment_samples))]


def output(network: Any, clip: torch.Tensor) -> torch.Tensor:
    return network(clip)


HTDEMUCS = Pruning(groups, trace_arguments, clips, output, removable, settle_heads)
