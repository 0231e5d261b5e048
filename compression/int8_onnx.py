"""int8 for ONNX Runtime: dynamic MatMulInteger for Linears and static QDQ convolutions by its own quantizers, and
weights that are only stored as int8: Cast and Mul, which the runtime folds into fp32 weights when it loads the graph
(it would run a DequantizeLinear at every inference).
"""

import logging
import math
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from edge.compression.int8 import PlannedLayer, static_ranges

LARGE_GELU = 4096
_WEIGHTED = {"Conv": "conv", "ConvTranspose": "conv_transpose", "MatMul": "linear", "Gemm": "linear"}


class _Silence(CalibrationDataReader):
    """One run on zeros: the quantizer insists on a calibration, though every range is given."""

    def __init__(self, model: onnx.ModelProto):
        shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
        self.inputs = iter([{name: np.zeros(shape, np.float32) for name, shape in shapes.items()}])

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


def quantize_onnx(model: onnx.ModelProto, plan: list[PlannedLayer]) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Quantize an exported model by `plan`.

    Returns the quantized model and the precision of every weighted layer read back from it. Raises InputError where a
    layer in static int8 has no ranges.
    """
    nodes = layer_nodes(model)
    asked = {p.name: p.precision for p in plan}
    ranges = static_ranges(plan)
    static = [n for n, layer in nodes.items() if layer in ranges]
    own_weights(model, static)
    overrides = {}
    for node in model.graph.node:
        if (layer := nodes.get(node.name)) in ranges:
            for tensor, side in zip((node.input[0], node.output[0]), ranges[layer], strict=True):
                overrides[tensor] = [{"rmin": np.float32(side.low), "rmax": np.float32(side.high)}]
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
                    _Silence(model),
                    quant_format=QuantFormat.QDQ,
                    nodes_to_quantize=static,
                    op_types_to_quantize=["Conv", "ConvTranspose"],
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax,
                    extra_options={"TensorQuantOverrides": overrides},
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
    store_int8(quantized, {n for n, layer in nodes.items() if asked.get(layer) == "int8-weights"})
    return quantized, achieved_precision(quantized, nodes)


def own_weights(model: onnx.ModelProto, nodes: Collection[str]) -> None:
    """Give each of these nodes a weight of its own, in place.

    Where two share a quantized one, ONNX Runtime 1.32 does not load the graph on x86 (session.x64quantprecision): it
    converts the weight once for each, under one name.
    """
    constants = {i.name: i for i in model.graph.initializer}
    taken: set[str] = set()
    for node in model.graph.node:
        if node.name not in nodes:
            continue
        if (name := node.input[1]) in taken:
            node.input[1] = f"{name}.{node.name}"
            model.graph.initializer.append(
                numpy_helper.from_array(numpy_helper.to_array(constants[name]), node.input[1])
            )
        taken.add(name)


def store_int8(model: onnx.ModelProto, nodes: Collection[str]) -> None:
    """Replace the fp32 weights of these nodes by int8 ones and their decoding, in place."""
    constants = {i.name: i for i in model.graph.initializer}
    decoders = []
    for node in model.graph.node:
        if node.name.removesuffix("_MatMul") not in nodes:  # the dynamic quantizer splits every Gemm
            continue
        name = node.input[1]
        if name not in constants:  # shared with a node that had it stored
            continue
        taken = constants.pop(name)
        weight = numpy_helper.to_array(taken)
        axis = _output_axis(node)
        rest = tuple(i for i in range(weight.ndim) if i != axis)
        scale = np.maximum(np.abs(weight).max(axis=rest, keepdims=True) / 127, np.finfo(np.float32).tiny)
        stored = [np.round(weight / scale).astype(np.int8), scale.astype(np.float32)]
        names = [f"{name}_int8", f"{name}_scale"]
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for a, n in zip(stored, names, strict=True))
        model.graph.initializer.remove(taken)
        cast = onnx.helper.make_node("Cast", [names[0]], [f"{name}_cast"], to=onnx.TensorProto.FLOAT)
        decoders += [cast, onnx.helper.make_node("Mul", [f"{name}_cast", names[1]], [name])]
    others = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*decoders, *others])


def approximate_gelu(model: onnx.ModelProto) -> None:
    """Large GELUs as x sigmoid(1.702 x), in place (Hendrycks & Gimpel 2016): at most 0.021 off, less than half the
    work. Those of less than LARGE_GELU values cost little as they are."""
    alpha = numpy_helper.from_array(np.array(1.702, np.float32), "gelu.alpha")
    shapes = {v.name: v.type.tensor_type.shape for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Gelu" or math.prod(d.dim_value for d in shapes[node.output[0]].dim) < LARGE_GELU:
            nodes.append(node)
            continue
        x, y = node.input[0], node.output[0]
        nodes += [
            onnx.helper.make_node("Mul", [x, alpha.name], [f"{y}.scaled"]),
            onnx.helper.make_node("Sigmoid", [f"{y}.scaled"], [f"{y}.gate"]),
            onnx.helper.make_node("Mul", [x, f"{y}.gate"], [y]),
        ]
    if len(nodes) > len(model.graph.node):
        model.graph.initializer.append(alpha)
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def _output_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[node.op_type]


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
                is_int8, precision = types.get(source.input[0]) == onnx.TensorProto.INT8, "int8-static"
            elif source is not None and source.op_type == "Mul":
                cast = producer[source.input[0]]
                is_int8, precision = types.get(cast.input[0]) == onnx.TensorProto.INT8, "int8-weights"
            else:
                is_int8, precision = False, ""
            achieved[layer] = precision if is_int8 else "fp32"
    return achieved
