"""A lowered module as an ONNX model."""

import onnx
import torch
from torch import nn

from edge.export.to_executorch import quiet

OPSET = 20  # the first with a Gelu operator


def to_onnx(
    module: nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str]
) -> onnx.ModelProto:
    """Export `module` (static shapes, batch one); layer names travel in each node's metadata."""
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.checker.check_model(model)
    return model


def strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes (source paths, stack traces): they are half of a small graph and no one's business."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    return model
