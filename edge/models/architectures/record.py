"""What the package knows of a network in PyTorch, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn


@dataclass(frozen=True)
class Architecture:
    """A kind of network; the other layers keep a record of their own by the same `kind`.

    kind: the word in checkpoints. task: of edge.interface. network, config: its class and its configuration's; a
    network has `config`.
    forward(network, audio): what runs of the graph from zero state would give, not aligned: float32 (channels,
    segment) to (sources, channels, segment), or (n,) of whole hops to (n,).
    process(network, audio): a whole recording, aligned: (channels, n) to (sources, channels, n), or (n,) to (n,).
    run_once(meta, segment): run a network that lies on the meta device once, on as little as is regular; returns the
    seconds of audio that this was. segment: samples, None for the network's own.
    fp32_tensors: those that an int8 checkpoint rounds no further than fp16. rescaled: whether new weights of its
    convolutions are pulled towards a spread of their own, whatever the width.
    """

    kind: str
    task: str
    network: type[nn.Module]
    config: type
    forward: Callable[[nn.Module, np.ndarray], np.ndarray]
    process: Callable[[nn.Module, np.ndarray], np.ndarray]
    run_once: Callable[[nn.Module, int | None], float]
    fp32_tensors: tuple[str, ...] = ()
    rescaled: bool = False
