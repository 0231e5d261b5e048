"""int8 for ExecuTorch: PT2E quantization with the XNNPACK quantizer, on an exported graph."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    QuantizationConfig,
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torch import nn
from torchao.quantization.pt2e.observer import MinMaxObserver, PerChannelMinMaxObserver, PlaceholderObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import ComposableQuantizer

from edge.compression.int8 import PlannedLayer, static_ranges
from edge.compression.ranges import Range

_WEIGHTED = {
    torch.ops.aten.conv2d.default,
    torch.ops.aten.linear.default,
    torch.ops.aten.conv_transpose2d.input,
}


_CONVOLUTIONS = _WEIGHTED - {torch.ops.aten.linear.default}
_RELU = {torch.ops.aten.relu.default, torch.ops.aten.relu_.default}


def module_of(node: torch.fx.Node) -> str:
    """Name of the module that a graph node was traced from."""
    stack = node.meta.get("nn_module_stack")
    return list(stack.values())[-1][0] if stack else ""


def _joined(node: torch.fx.Node) -> torch.fx.Node | None:
    """The convolution that XNNPACK computes as one with a ReLU node right behind it; None for any other node."""
    convolution = node.args[0] if node.target in _RELU else None
    if not isinstance(convolution, torch.fx.Node) or convolution.target not in _CONVOLUTIONS:
        return None
    return convolution if len(convolution.users) == 1 else None


class _LayerQuantizer(XNNPACKQuantizer):
    """Annotates the weighted layers it was told of and nothing else.

    The base class also annotates concatenations, whatever the filter says, and lets scales spread from them: the
    STFT's frames would become int8, with slices that XNNPACK refuses to load.
    """

    def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
        ours = {n for n in model.graph.nodes if "quantization_annotation" in n.meta}
        super().annotate(model)
        for node in model.graph.nodes:
            weighted = node.target in _WEIGHTED or _joined(node) is not None
            if node.op == "call_function" and not weighted and node not in ours:
                node.meta.pop("quantization_annotation", None)
        return model


def _config(dynamic: bool) -> QuantizationConfig:
    """Symmetric per-channel int8 weights whose scales may be small (LayerScale is folded in), activations whose
    ranges are set from outside."""
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    weight = replace(config.weight, observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=2**-24))
    if dynamic:  # XNNPACK has no least scale where it rounds as it runs: the graph that is scanned must not have one
        observer = PlaceholderObserver.with_args(eps=2**-40)
        rounding = replace(config.input_activation, observer_or_fake_quant_ctr=observer)
        return replace(config, weight=weight, input_activation=rounding)
    activation = replace(config.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-16))
    return replace(config, weight=weight, input_activation=activation, output_activation=activation)


def _quantizer(names: set[str], dynamic: bool) -> XNNPACKQuantizer:
    def wanted(node: torch.fx.Node) -> bool:
        # weights and biases carry no module stack: a filter that rejects them silently drops every convolution
        if node.op != "call_function":
            return True
        weighted = _joined(node) or node
        return weighted.target in _WEIGHTED and module_of(weighted) in names

    return _LayerQuantizer().set_global(_config(dynamic)).set_filter_function(wanted)


def quantize_pt2e(
    module: nn.Module,
    plan: list[PlannedLayer],
    example: tuple[torch.Tensor, ...],
) -> tuple[nn.Module, dict[str, str]]:
    """Quantize a lowered module by `plan`; example: its inputs, for the shapes.

    Returns the quantized graph module and the precision of every weighted layer read back from its graph. Raises
    InputError where a layer in static int8 has no ranges.
    """
    ranges = static_ranges(plan)
    quantizers = []
    for precision in ("int8-dynamic", "int8-static"):
        names = {p.name for p in plan if p.precision == precision}
        if names:
            quantizers.append(_quantizer(names, precision == "int8-dynamic"))
    with torch.no_grad():
        graph = torch.export.export(module, example, strict=False).module()
        _own_weights(graph)
        prepared = prepare_pt2e(graph, ComposableQuantizer(quantizers))
        prepared(*example)
        _set_ranges(prepared, ranges)
        quantized = convert_pt2e(prepared, fold_quantize=True)
    return quantized, _achieved(quantized, plan)


def _own_weights(graph: torch.fx.GraphModule) -> None:
    """A node of its own for the weight of each call of a layer: XNNPACKQuantizer passes over what shares an annotated
    one."""
    for node in [n for n in graph.graph.nodes if n.op == "get_attr"]:
        for user in list(node.users)[1:]:
            with graph.graph.inserting_before(user):
                own = graph.graph.get_attr(node.target)
            own.meta = dict(node.meta)
            user.replace_input_with(node, own)
    graph.recompile()


def _set_ranges(prepared: torch.fx.GraphModule, ranges: Mapping[str, tuple[Range, Range]]) -> None:
    """Give the observers before and after every layer in static int8 its calibrated ranges."""
    for node in prepared.graph.nodes:
        if node.op != "call_function" or node.target not in _WEIGHTED or module_of(node) not in ranges:
            continue
        input_range, output_range = ranges[module_of(node)]
        behind = next(iter(node.users))
        if _joined(behind):
            behind, output_range = next(iter(behind.users)), replace(output_range, low=0.0)
        for place, side in ((node.args[0], input_range), (behind, output_range)):
            observer = prepared.get_submodule(place.target)
            observer.min_val, observer.max_val = torch.tensor(side.low), torch.tensor(side.high)


def _achieved(quantized: torch.fx.GraphModule, plan: list[PlannedLayer]) -> dict[str, str]:
    known = {p.name for p in plan}
    achieved: dict[str, str] = {}
    for node in quantized.graph.nodes:
        if node.op != "call_function" or node.target not in _WEIGHTED or module_of(node) not in known:
            continue
        activation, weight = str(node.args[0].target), str(node.args[1].target)
        if "dequantize" not in weight:
            precision = "fp32"
        elif "dequantize" not in activation:
            precision = "int8-weights"
        else:
            dynamic = any("choose_qparams" in str(a.target) for a in _ancestors(node.args[0]))
            precision = "int8-dynamic" if dynamic else "int8-static"
        achieved[module_of(node)] = precision
    return achieved


def _ancestors(node: torch.fx.Node) -> Iterable[torch.fx.Node]:
    """Scale, zero point and what they come from: three levels up from a dequantize node."""
    level = [node]
    for _ in range(3):
        level = [a for n in level for a in n.all_input_nodes]
        yield from level
