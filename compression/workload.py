"""An estimate of what each layer of a network costs on a phone's core: what pruning is meant to save.

The figures are ARM64 instructions of ONNX Runtime's fp32 kernels, by operation and element, fitted to counts of
`python -m edge.benchmarks.arm.operators`. A wide network is dominated by its multiply-accumulates, a narrow one by
activations and norms; a measure that saw only one of them would thin the wrong layers.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from edge.models.architectures import architecture_of

aten = torch.ops.aten
MAC = 0.4
UNFOLD = 3.0  # an element of the matrix that a convolution's kernel unfolds its input to, or folds its output from
ELEMENT = {
    aten.gelu: 22.0,
    aten.sigmoid: 12.0,
    aten.tanh: 12.0,
    aten.log: 12.0,
    aten._softmax: 8.0,
    aten.native_group_norm: 6.0,
    aten.native_layer_norm: 6.0,
    aten.add: 2.0,
    aten.sub: 2.0,
    aten.mul: 2.0,
    aten.div: 2.0,
    aten.leaky_relu: 2.0,
    aten.cat: 1.0,
    aten.clone: 1.0,
    aten.constant_pad_nd: 1.0,
}
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


@dataclass
class LayerWork:
    """products: of the layer itself, falling with both of its widths; before: of unfolding its input, falling with the
    inputs; after: of what follows it up to the next weighted layer, falling with its outputs; weights: parameters."""

    products: float = 0.0
    before: float = 0.0
    after: float = 0.0
    weights: int = 0

    def left(self, inputs: float, outputs: float) -> tuple[float, float]:
        """(instructions, weights) where these shares of the widths are kept."""
        work = self.products * inputs * outputs + self.before * inputs + self.after * outputs
        return work, self.weights * inputs * outputs


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.layers: dict[str, LayerWork] = {}
        self.current: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.current is None:
            return out
        work, packet = self.layers.setdefault(self.current, LayerWork()), func._overloadpacket
        if packet in flop_registry:
            cost = MAC / 2 * flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            if packet in (aten.convolution, aten.addmm, aten.mm, aten.linear):
                work.products += cost
                if packet is aten.convolution:
                    self._unfold(work, args[0], args[1], out, transposed=args[6])
            else:  # products between tokens
                work.after += cost
        elif packet in ELEMENT:
            first = out[0] if isinstance(out, tuple) else out
            work.after += ELEMENT[packet] * first.numel()
        return out

    @staticmethod
    def _unfold(work: LayerWork, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, transposed: bool) -> None:
        kernel = weight[0, 0].numel()
        if transposed:
            work.after += UNFOLD * kernel * weight.shape[1] * x[:, 0].numel()
        elif kernel > 1:
            work.before += UNFOLD * kernel * weight.shape[1] * out[:, 0].numel()


def workload(model: nn.Module) -> dict[str, LayerWork]:
    """Work of one run of a network, as its architecture has it, by weighted layer's name."""
    meta = copy.deepcopy(model).to("meta").eval()
    counter = _Counter()
    for name, module in meta.named_modules():
        if isinstance(module, WEIGHTED):
            entry = counter.layers.setdefault(name, LayerWork())
            entry.weights = sum(p.numel() for p in module.parameters())
            module.register_forward_pre_hook(lambda *_, n=name: setattr(counter, "current", n))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), counter:
        architecture_of(model).run_once(meta, None)
    return counter.layers
