"""The speech enhancer: one channel, hop by hop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edge.models.architectures.record import Architecture
from edge.models.enhancer import Enhancer, EnhancerConfig


@torch.inference_mode()
def forward(network: Any, audio: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(audio[None]), network.init_state())[0][0].numpy()


@torch.inference_mode()
def process(network: Any, audio: np.ndarray) -> np.ndarray:
    return network.enhance(torch.from_numpy(audio[None]))[0].numpy()


@torch.no_grad()
def run_once(meta: Any, segment: int | None = None) -> float:
    """One hop after another: `segment` does not matter."""
    state = {name: torch.empty(1, *shape, device="meta") for name, shape in meta.state_shapes().items()}
    meta(torch.empty(1, meta.config.hop, device="meta"), state)
    return meta.config.hop / meta.config.sample_rate


# clean speech would hear the rounding of the bases
BASES = ("analysis.weight", "synthesis.weight")
ENHANCER = Architecture("enhancer", "enhance", Enhancer, EnhancerConfig, forward, process, run_once, BASES)
