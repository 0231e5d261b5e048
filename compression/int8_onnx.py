"""int8 for ONNX Runtime: dynamic MatMulInteger for Linears, static QDQ convolutions, by its own quantizers."""

import logging
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from edge.compression.int8 import PlannedLayer

_WEIGHTED = {"Conv": "conv", "ConvTranspose": "conv_transpose", "MatMul": "linear", "Gemm": "linear"}


class _Reader(CalibrationDataReader):
    def __init__(self, inputs: Iterable[Mapping[str, np.ndarray]]):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(self.inputs, None)


def layer_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """Node name -> layer name, for the nodes that hold a layer's weight; the exporter notes the layer in each node."""
    constants = {i.name for i in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type not in _WEIGHTED or node.input[1] not in constants:
            continue
        scopes = {p.key: p.value for p in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
        path = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
        # the last scope is the operator itself, the one before it the module
        found[node.name] = path[-2] if len(path) > 1 else node.name
    return found


def quantize_onnx(
    model: onnx.ModelProto, plan: list[PlannedLayer], calibration: Iterable[Mapping[str, np.ndarray]]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Quantize an exported model by `plan`; calibration: input dicts, run once each.

    Returns the quantized model and the precision of every weighted layer read back from it.
    """
    nodes = layer_nodes(model)
    asked = {p.name: p.precision for p in plan}
    static = [n for n, layer in nodes.items() if asked.get(layer) == "int8-static"]
    dynamic = [n for n, layer in nodes.items() if asked.get(layer) == "int8-dynamic"]
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # the quantizers advise on preprocessing at every call
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, result = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
            onnx.save(model, source)
            if static:
                quantize_static(
                    source,
                    result,
                    _Reader(calibration),
                    quant_format=QuantFormat.QDQ,
                    nodes_to_quantize=static,
                    op_types_to_quantize=["Conv", "ConvTranspose"],
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax,
                )
                source, result = result, Path(folder) / "both.onnx"
            if dynamic:
                quantize_dynamic(
                    source,
                    result,
                    nodes_to_quantize=[*dynamic, *(f"{name}_MatMul" for name in dynamic)],  # a Gemm is split first
                    op_types_to_quantize=["MatMul", "Gemm"],
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                )
                source = result
            quantized = onnx.load(source)
    finally:
        logging.getLogger().setLevel(level)
    return quantized, achieved_precision(quantized, nodes)


def achieved_precision(model: onnx.ModelProto, nodes: Mapping[str, str]) -> dict[str, str]:
    """Precision by layer name, from the weights and operators that the finished graph holds."""
    types = {i.name: i.data_type for i in model.graph.initializer}
    producer = {o: n for n in model.graph.node for o in n.output}
    achieved = {}
    for node in model.graph.node:
        layer = nodes.get(node.name.removesuffix("_quant").removesuffix("_MatMul"))
        if layer is None:
            continue
        weight = node.input[1]
        if node.op_type == "MatMulInteger":
            is_int8 = types.get(weight) == onnx.TensorProto.INT8
            achieved[layer] = "int8-dynamic" if is_int8 else "fp32"
        elif node.op_type in _WEIGHTED:
            source = producer.get(weight)
            if source is not None and source.op_type == "DequantizeLinear":
                is_int8 = types.get(source.input[0]) == onnx.TensorProto.INT8
            else:
                is_int8 = False
            achieved[layer] = "int8-static" if is_int8 else "fp32"
    return achieved
