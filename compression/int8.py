"""The int8 policy: which layers of a lowered graph become int8, and which stay float and why.

Weights are symmetric int8 per output channel. Linears quantize their activations dynamically, convolutions statically
from calibration audio; what a lowered module marks with `keep_float` (STFT, norm statistics, first and last
convolution) stays fp32. Each exporter reports the precision that a layer really got; `require_all` fails where one
that was asked for stayed float.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from edge.bundle import LayerRecord
from edge.errors import EdgeError

KINDS: dict[type[nn.Module], tuple[str, str]] = {
    nn.Linear: ("linear", "int8-dynamic"),
    nn.Conv2d: ("conv", "int8-static"),
    nn.ConvTranspose2d: ("conv_transpose", "int8-static"),
}


@dataclass(frozen=True)
class PlannedLayer:
    """One weighted layer of a lowered module. precision: "fp32", "int8-dynamic" or "int8-static"."""

    name: str
    kind: str
    precision: str
    reason: str
    weights: int


def weighted_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Linears and convolutions by name."""
    for name, layer in module.named_modules():
        if type(layer) in KINDS:
            yield name, layer


def plan_precision(module: nn.Module, precision: str) -> list[PlannedLayer]:
    """The policy applied to a lowered module; precision is "fp32" or "int8"."""
    plan = []
    for name, layer in weighted_layers(module):
        kind, asked = KINDS[type(layer)]
        reason = getattr(layer, "keep_float", "")
        if precision == "fp32":
            asked, reason = "fp32", ""
        elif reason:
            asked = "fp32"
        plan.append(PlannedLayer(name, kind, asked, reason, layer.weight.numel()))
    return plan


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
