"""The enhancer as a graph: one hop."""

from __future__ import annotations

from typing import Any

from torch import nn

from edge.export.architectures.record import Lowering
from edge.export.lower_enhancer import lower_enhancer
from edge.interface import Interface, TensorSpec, enhancement_interface


def interface(network: Any, seconds: float | None = None) -> Interface:
    """The hop is the network's, whatever the seconds; the states are those of its lowered form."""
    c, shapes = network.config, lower_enhancer(network, "onnx").state_shapes
    states = [TensorSpec(name, tuple(shape)) for name, shape in shapes.items()]
    return enhancement_interface(c.sample_rate, c.hop, c.delay, states)


def lower(network: Any, segment: int | None, target: Any) -> nn.Module:
    return lower_enhancer(network, target)


ENHANCER = Lowering(interface, lower)
