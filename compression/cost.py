"""What a network costs: parameters, MACs, weight bytes."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edge.compression.int8 import UNTRAINED, PlannedLayer, marked_float
from edge.compression.precisions import layer_format
from edge.models.architectures import architecture_of
from edge.models.bag import members

_LAYER_OPS = (torch.ops.aten.convolution, torch.ops.aten.mm, torch.ops.aten.addmm)


def parameters(model: nn.Module) -> int:
    """Learned parameters."""
    return sum(p.numel() for p in model.parameters())


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates for one second of audio.

    layers: of the weighted layers (convolutions, Linears), the figure that papers give. attention: of the products
    between tokens, which fall with the width only, not with its square, and grow with the segment.
    """

    layers: float
    attention: float


def macs_per_second(model: nn.Module, segment: int | None = None) -> Macs:
    """What one second of audio costs the learned network.

    At `segment` samples (of a separator; None: its own), transforms that nobody trained apart; of a bag the sum.
    Counted on the meta device, so nothing is computed.
    """
    each = [_macs_per_second(member, segment) for member in members(model)]
    return Macs(sum(m.layers for m in each), sum(m.attention for m in each))


def _macs_per_second(model: nn.Module, segment: int | None) -> Macs:
    with FlopCounterMode(display=False) as counter:
        seconds = architecture_of(model).run_once(copy.deepcopy(model).to("meta").eval(), segment)
    counts = counter.get_flop_counts()["Global"]
    layers = sum(flops for op, flops in counts.items() if op in _LAYER_OPS)
    return Macs(layers / 2 / seconds, (counter.get_total_flops() - layers) / 2 / seconds)


def weight_bytes(module: nn.Module, plan: list[PlannedLayer]) -> int:
    """Bytes of a lowered module's learned weights under `plan`, in its layers' formats.

    The STFT's tables, norm-statistics forms and positional tables are constants of the method and not counted.
    """
    total = sum(p.nbytes for p in module.parameters())
    for layer in plan:
        weighted = module.get_submodule(layer.name)
        if marked_float(weighted)[0] == UNTRAINED:
            total -= sum(p.nbytes for p in weighted.parameters())
        elif (stored := layer_format(layer.precision)).scaled:
            outputs = weighted.weight.shape[1 if layer.kind == "conv_transpose" else 0]
            total -= (4 - stored.bytes) * layer.weights - 4 * outputs
    return round(total)
