"""One lowered, quantized, exported graph of a model, with the record of what it became."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge.backends import backend_named
from edge.bundle import GraphRecord
from edge.compression.cost import weight_bytes
from edge.compression.int8 import require_all
from edge.compression.processors import processor_named
from edge.errors import InputError
from edge.export.backends import EXPORTERS, exporter_named
from edge.export.forms import chosen_form
from edge.interface import Interface


@dataclass(frozen=True)
class BuiltGraph:
    """The bytes of a graph file and its manifest record."""

    data: bytes
    record: GraphRecord


def build_graph(
    model: nn.Module,
    interface: Interface,
    backend: str,
    precision: str,
    calibration: Sequence[np.ndarray],
    target: str = "arm64",
) -> BuiltGraph:
    """Lower `model` for a backend, quantize it by the precision's plan, and export it.

    interface: of the model. precision: a registered one, or "auto". calibration: float32 arrays like the graph's first
    input, for static int8; states are not calibrated (enhancers quantize dynamically). target: the processor that
    precision is chosen for. Raises InputError for what nobody registered and where static int8 has no calibration
    audio, EdgeError where a layer misses its planned precision.
    """
    exporter, processor = exporter_named(backend), processor_named(target)
    example = example_inputs(interface)
    batches = [(torch.from_numpy(audio), *example[1:]) for audio in calibration]
    chosen, lowered = chosen_form(model, interface, exporter, precision, processor, batches)
    plan = chosen.plan(lowered, backend_named(backend), processor, example, batches)
    built = exporter.export(lowered, example, interface, plan)
    file, size = backend_named(backend).file, weight_bytes(lowered, plan)
    layers = require_all(plan, built.achieved, file)
    told = layers, built.delegated_macs, built.least_runtime
    record = GraphRecord(file, chosen.name, len(built.data), size, built.ops, *told)
    return BuiltGraph(built.data, record)


def example_inputs(interface: Interface) -> tuple[torch.Tensor, ...]:
    """Zeros in the shapes of a graph's inputs."""
    return tuple(torch.zeros(spec.shape) for spec in interface.inputs)


def check_formats(formats: Sequence[str]) -> None:
    """Raises InputError for an unknown format, or where the packages that export it are not installed."""
    if not formats:
        raise InputError(f"name a format to export: {', '.join(EXPORTERS)}")
    for name in formats:
        for package in exporter_named(name).requires:
            if importlib.util.find_spec(package) is None:
                raise InputError(f'exporting {name} needs the {package} package: pip install "stem-edge[export]"')
