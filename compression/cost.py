"""What a network costs: parameters, MACs, weight bytes."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edge.compression.int8 import PlannedLayer
from edge.models.bag import Bag
from edge.models.enhancer import Enhancer
from edge.models.htdemucs import HTDemucs

# matrices that a lowered graph holds but nobody trained: counted as constants, not as weights
_LAYER_OPS = (torch.ops.aten.convolution, torch.ops.aten.mm, torch.ops.aten.addmm)
_CONSTANT = ("norm statistics",)


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

    HTDemucs: at `segment` samples, without the STFT pair; Enhancer: one hop after another. Counted on the meta
    device, so nothing is computed.
    """
    if isinstance(model, Bag):
        each = [macs_per_second(m, segment) for m in model.models]
        return Macs(sum(m.layers for m in each), sum(m.attention for m in each))
    with FlopCounterMode(display=False) as counter:
        seconds = run_once(copy.deepcopy(model).to("meta").eval(), segment)
    counts = counter.get_flop_counts()["Global"]
    layers = sum(flops for op, flops in counts.items() if op in _LAYER_OPS)
    return Macs(layers / 2 / seconds, (counter.get_total_flops() - layers) / 2 / seconds)


@torch.no_grad()
def run_once(meta: nn.Module, segment: int | None = None) -> float:
    """Run a network that lies on the meta device: an HTDemucs' core on `segment` samples (default: its own), or an
    Enhancer on one hop. Returns the seconds of audio that this was."""
    if isinstance(meta, HTDemucs):
        c = meta.config
        length = segment or c.segment_samples
        frames = -(-length // (c.nfft // 4))
        wave = torch.empty(1, c.audio_channels, length, device="meta")
        meta.core(wave, torch.empty(1, 2 * c.audio_channels, c.nfft // 2, frames, device="meta"))
        return length / c.samplerate
    if isinstance(meta, Enhancer):
        state = {k: torch.empty(1, *s, device="meta") for k, s in meta.state_shapes().items()}
        meta(torch.empty(1, meta.config.hop, device="meta"), state)
        return meta.config.hop / meta.config.sample_rate
    raise TypeError(f"cannot count {type(meta).__name__}")


def weight_bytes(module: nn.Module, plan: list[PlannedLayer]) -> int:
    """Bytes of a lowered module's learned weights under `plan`: int8 weights with a float scale an output channel.

    The STFT's tables, norm-statistics forms and positional tables are constants of the method and not counted.
    """
    total = sum(p.nbytes for p in module.parameters())
    for layer in plan:
        weighted = module.get_submodule(layer.name)
        if layer.reason in _CONSTANT:
            total -= sum(p.nbytes for p in weighted.parameters())
        elif layer.precision.startswith("int8"):
            outputs = weighted.weight.shape[1 if layer.kind == "conv_transpose" else 0]
            total -= 3 * layer.weights - 4 * outputs
    return total
