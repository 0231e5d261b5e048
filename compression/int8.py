"""The int8 policy: which layers of a lowered graph become int8, how, and why the others do not.

Weights are symmetric int8 per output channel. Where int8 arithmetic pays, Linears quantize their activations
dynamically and convolutions statically from calibration audio. Where it does not (changing an activation to int8 and
back costs more than the cheaper products save), the weights alone are stored as int8 and the layer computes in fp32.
What a lowered module marks with `keep_float` (STFT, norm statistics, first and last convolution) stays fp32; what it
marks with `compute_float` keeps fp32 arithmetic where the backend can store weights as int8 all the same (ONNX).
Each exporter reports the precision that a layer really got; `require_all` fails where one that was asked for stayed
float.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edge.backends import Backend
from edge.bundle import LayerRecord
from edge.compression.processors import NEVER, Processor
from edge.compression.ranges import Range, calibrated_ranges
from edge.errors import EdgeError, InputError

KINDS: dict[type[nn.Module], tuple[str, str]] = {
    nn.Linear: ("linear", "int8-dynamic"),
    nn.Conv1d: ("conv", "int8-static"),
    nn.Conv2d: ("conv", "int8-static"),
    nn.ConvTranspose2d: ("conv_transpose", "int8-static"),
}


UNTRAINED = "norm statistics"  # why a matrix that nobody trained stays float: it is no weight of the network
RANGE_SNR_DB = 14.5
WIDE_RANGE = "no single int8 scale holds the range of its input or its output"
IN_FLOAT = "computes in fp32: int8 would cost more than it saves"


@dataclass(frozen=True)
class PlannedLayer:
    """One weighted layer of a lowered module.

    precision: "fp32", "fp16", "int8-dynamic", "int8-static" or "int8-weights". ranges: of the input and the output,
    for static int8; without them it cannot be exported.
    """

    name: str
    kind: str
    precision: str
    reason: str
    weights: int
    ranges: tuple[Range, Range] | None = None


def weighted_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Linears and convolutions by name."""
    for name, layer in module.named_modules():
        if type(layer) in KINDS:
            yield name, layer


def float_precision(layer: nn.Module) -> str:
    """Of a layer that is not quantized: "fp16" where its module was lowered to that."""
    return "fp16" if layer.weight.dtype == torch.float16 else "fp32"


def marked_float(layer: nn.Module) -> tuple[str, str]:
    """Why a lowered layer stays float, and why it computes in float where its weights can be stored as int8."""
    keep, compute = (str(getattr(layer, mark, "")) for mark in ("keep_float", "compute_float"))
    return keep, compute


def plan(
    module: nn.Module,
    backend: Backend,
    processor: Processor,
    example: tuple[torch.Tensor, ...],
    calibration: Sequence[tuple[torch.Tensor, ...]] = (),
) -> list[PlannedLayer]:
    """The policy applied to a lowered module; see compression.precisions.Precision.

    Without calibration no layer gets ranges or is exempted for them.
    """
    work = _layer_work(module, example)
    planned = []
    for name, layer in weighted_layers(module):
        kind, asked = KINDS[type(layer)]
        reason, in_float = marked_float(layer)
        if reason:
            asked = "fp32"
        elif backend.stores_int8 and in_float:
            asked, reason = "int8-weights", in_float
        else:
            pays, (macs, elements) = processor.int8.get((backend.name, kind), NEVER), work[name]
            if not macs > pays.elements * elements + pays.overhead:
                asked, reason = _float_instead(backend), IN_FLOAT
        planned.append(PlannedLayer(name, kind, asked, reason, layer.weight.numel()))
    return _with_ranges(module, planned, calibration, backend) if calibration else planned


def _float_instead(backend: Backend) -> str:
    """What a layer becomes that does not compute in int8: some graphs can hold its weights as int8 all the same."""
    return "int8-weights" if backend.stores_int8 else "fp32"


def _with_ranges(
    module: nn.Module, plan: list[PlannedLayer], calibration: Sequence[tuple[torch.Tensor, ...]], backend: Backend
) -> list[PlannedLayer]:
    """`plan` with the ranges of static int8, and without it where one scale cannot hold the input or the output: where
    the rounding lies less than RANGE_SNR_DB below it. Such layers store their weights as int8 and compute in fp32
    (ONNX), or stay fp32 (ExecuTorch)."""
    ranges = calibrated_ranges(module, [p.name for p in plan if p.precision == "int8-static"], calibration)
    instead = _float_instead(backend)

    def completed(layer: PlannedLayer) -> PlannedLayer:
        if layer.name not in ranges:
            return layer
        if min(side.snr_db for side in ranges[layer.name]) < RANGE_SNR_DB:
            return dataclasses.replace(layer, precision=instead, reason=WIDE_RANGE)
        return dataclasses.replace(layer, ranges=ranges[layer.name])

    return [completed(layer) for layer in plan]


def _layer_work(module: nn.Module, example: tuple[torch.Tensor, ...]) -> dict[str, tuple[int, int]]:
    """(multiply-accumulates, elements in and out) of every weighted layer in one run, summed over its calls."""
    meta = copy.deepcopy(module).to("meta")
    found: dict[str, tuple[int, int]] = {}

    def note(name: str, layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        macs, elements = found.get(name, (0, 0))
        positions = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        channels = layer.in_channels if isinstance(layer, nn.ConvTranspose2d) else layer.weight.shape[0]
        macs += positions.numel() // int(channels) * layer.weight.numel()  # type: ignore[operator]
        found[name] = macs, elements + inputs[0].numel() + output.numel()

    for name, layer in weighted_layers(meta):
        layer.register_forward_hook(lambda m, x, y, n=name: note(n, m, x, y))
    with torch.no_grad():
        meta(*(torch.empty_like(x, device="meta") for x in example))
    return found


def static_ranges(plan: Sequence[PlannedLayer]) -> dict[str, tuple[Range, Range]]:
    """Ranges of the input and the output of every layer in static int8. Raises InputError where one has none."""
    found = {}
    for layer in plan:
        if layer.precision == "int8-static":
            if layer.ranges is None:
                raise InputError(f"static int8 needs calibration audio; {layer.name} has no ranges")
            found[layer.name] = layer.ranges
    return found


def require_all(plan: list[PlannedLayer], achieved: Mapping[str, str], graph: str) -> list[LayerRecord]:
    """The manifest's record of each layer; raises EdgeError where the graph's precision is not the planned one.

    achieved: precision by layer name, read back from the finished graph.
    """
    wrong = [p for p in plan if achieved.get(p.name, "absent") != p.precision]
    if wrong:
        first = wrong[0]
        raise EdgeError(
            f"{graph}: {len(wrong)} of {len(plan)} layers did not get the precision asked for; first: {first.name} "
            f"({first.kind}) is {achieved.get(first.name, 'absent')}, not {first.precision}"
        )
    return [LayerRecord(p.name, p.kind, p.precision, p.reason) for p in plan]
