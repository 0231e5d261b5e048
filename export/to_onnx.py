"""A lowered module as an ONNX model."""

from collections import Counter
from collections.abc import Sequence

import onnx
import onnx_ir
import torch
from onnxscript import optimizer
from torch import nn

from edge.compression.int8 import PlannedLayer
from edge.compression.int8_onnx import achieved_precision, approximate_gelu, layer_nodes, quantize_onnx
from edge.export.exported import Exported
from edge.export.onnx_versions import least_runtime, lower_versions, readable_names
from edge.export.quiet import quiet
from edge.export.shrink import store_half, strip

OPSET = 20  # the first with a Gelu operator
_FOLD_LIMIT = 1 << 30


def to_onnx(
    module: nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    plan: list[PlannedLayer],
) -> Exported:
    """Export a lowered module (static shapes, batch one) and quantize it by `plan`."""
    model = export_onnx(module, example, inputs, outputs)
    if any(layer.precision != "fp32" for layer in plan):
        with quiet():
            model, achieved = quantize_onnx(model, plan)
        approximate_gelu(model)
        store_half(model)
    else:
        achieved = achieved_precision(model, layer_nodes(model))
    ops = dict(Counter(node.op_type for node in model.graph.node))
    readable_names(model)
    lower_versions(strip(model))
    return Exported(model.SerializeToString(), ops, achieved, least_runtime=least_runtime(model))


def export_onnx(
    module: nn.Module, example: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """A lowered module as an fp32 model whose nodes still name their layers (see `layer_nodes`)."""
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            optimize=False,
            verbose=False,
        )
        assert program is not None
        # weights are transposed once, here; products of small tables stay products, or the file would hold big ones
        optimizer.optimize_ir(
            program.model,
            input_size_limit=_FOLD_LIMIT,
            output_size_limit=_FOLD_LIMIT,
            should_fold=_should_fold,
        )
        model = onnx_ir.to_proto(program.model)
        onnx.checker.check_model(model)
    return model


def _should_fold(node: onnx_ir.Node) -> bool | None:
    return False if node.op_type in ("Mul", "Add", "Concat", "Pad") else None
