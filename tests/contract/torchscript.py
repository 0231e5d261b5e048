"""A third backend and a third precision, as somebody from outside would add them: TorchScript, int4 weights in it."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from edge.backends import BACKENDS, Backend
from edge.compression.int8 import KINDS, PlannedLayer, weighted_layers
from edge.compression.precisions import PRECISIONS, LayerFormat, Precision
from edge.export.backends import EXPORTERS, Exporter
from edge.export.exported import Exported
from edge.runtime.binding import Carried


class TorchScript:
    def __init__(self, path: str, threads: int, interface: Any):
        self._module = torch.jit.load(path)

    @torch.inference_mode()
    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs = self._module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in inputs))
        return [o.numpy() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]

    def bind(self, interface):
        return Carried(interface, self.run)


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """To 15 steps, each row of the first axis by its own scale."""
    scale = weight.abs().flatten(1).amax(1).clamp_min(1e-12).reshape(-1, *[1] * (weight.dim() - 1)) / 7
    return torch.round(weight / scale) * scale


def export(module: nn.Module, example: tuple, interface: Any, plan: list[PlannedLayer]) -> Exported:
    module, file, achieved = copy.deepcopy(module), io.BytesIO(), {}
    for layer in plan:
        weighted = module.get_submodule(layer.name)
        if layer.precision == "int4-weights":
            weighted.weight = nn.Parameter(rounded(weighted.weight), requires_grad=False)
        steps = len(torch.unique(weighted.weight[0]))
        achieved[layer.name] = "int4-weights" if steps <= 15 and layer.precision != "fp32" else "fp32"
    with torch.no_grad():
        torch.jit.save(torch.jit.trace(module, example), file)
    return Exported(file.getvalue(), {}, achieved)


def plan(module: nn.Module, backend: Backend, processor: Any, example: tuple, calibration: Any = ()):
    planned = []
    for name, layer in weighted_layers(module):
        kept = getattr(layer, "keep_float", "")
        precision = "fp32" if kept else "int4-weights"
        planned.append(PlannedLayer(name, KINDS[type(layer)][0], precision, kept, layer.weight.numel()))
    return planned


@contextmanager
def registered() -> Iterator[None]:
    """Both are known inside the block."""
    BACKENDS["torchscript"] = Backend("torchscript", "model.pt", lambda: None, lambda: None, TorchScript)
    EXPORTERS["torchscript"] = Exporter(("torch",), "onnx", export)
    formats = {"int4-weights": LayerFormat(0.5, scaled=True)}
    PRECISIONS["int4"] = Precision("int4", plan, formats, min_parity_db=5.0, golden_min_db=40.0)
    try:
        yield
    finally:
        del BACKENDS["torchscript"], EXPORTERS["torchscript"], PRECISIONS["int4"]
