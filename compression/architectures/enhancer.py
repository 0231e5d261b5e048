"""How the enhancer is pruned."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edge import samples
from edge.compression.architectures.record import Pruning
from edge.compression.enhancer_groups import prune_seeds, trace_arguments
from edge.compression.groups import ChannelGroup
from edge.compression.importance import CLIP_SECONDS, cut


def groups(network: Any) -> list[ChannelGroup]:
    return list(prune_seeds(network))


def clips(network: Any) -> list[Tensor]:
    """Noisy speech (1, n), backwards: alike in everything that counts, but not the recording that quality is
    measured on."""
    config = network.config
    length = int(CLIP_SECONDS * config.sample_rate) // config.hop * config.hop
    return cut(samples.speech()[0][None, ::-1], length)


def output(network: Any, clip: torch.Tensor) -> torch.Tensor:
    return network(clip)[0]


def width(ratio: float) -> float:
    """The share of its work that stays is `1 - ratio`, not that squared: half of an enhancer's hop is calls of kernels
    that no channel changes, so that the second half of the work saves little and costs most of the quality."""
    return math.sqrt(1 - ratio)


ENHANCER = Pruning(groups, trace_arguments, clips, output, width=width)
