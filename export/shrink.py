"""ONNX files without what no runtime reads. In a small int8 graph that is half of the file."""

import math
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

NAMED_VALUES = 256  # smaller constants lose their names, and stay fp32
_DEFAULTS: dict[str, Any] = {  # of the operators' attributes, as the ONNX specification gives them
    "allowzero": 0,
    "approximate": b"none",
    "auto_pad": b"NOTSET",
    "dilations": 1,
    "group": 1,
    "keepdims": 1,
    "noop_with_empty_axes": 0,
    "output_padding": 0,
    "pads": 0,
    "strides": 1,
}
_DEFAULTED = {"Conv", "ConvTranspose", "Gelu", "ReduceMean", "Reshape"}


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop, in place, the exporter's notes (source paths, stack traces), shapes of intermediate values, attributes
    that state the default, and names of all values but inputs, outputs and large constants. Outputs stay the same bits.
    """
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    kept |= {constant.name for constant in graph.initializer if math.prod(constant.dims) >= NAMED_VALUES}
    others = [c.name for c in graph.initializer if c.name not in kept]
    others += [name for node in graph.node for name in node.output if name and name not in kept]
    short = {name: f"_{number:x}" for number, name in enumerate(others)}
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]
        stated = [a for a in node.attribute if not _is_default(node.op_type, a)]
        del node.attribute[:]
        node.attribute.extend(stated)
    for value in (*graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
        value.name = short.get(value.name, value.name)
    del graph.value_info[:], graph.quantization_annotation[:], graph.metadata_props[:], model.metadata_props[:]
    return model


def _is_default(op_type: str, attribute: onnx.AttributeProto) -> bool:
    if op_type not in _DEFAULTED:
        return False
    if attribute.name == "kernel_shape":  # that of the weight
        return True
    value = onnx.helper.get_attribute_value(attribute)
    values = value if isinstance(value, list) else [value]
    return all(v == _DEFAULTS.get(attribute.name) for v in values)


def store_half(model: onnx.ModelProto) -> None:
    """Keep large fp32 constants as fp16, in place, behind a Cast that the runtime folds when it loads the graph.

    Checkpoints hold weights as fp16 too; what tables lose, 66 dB below themselves, is far below an int8 layer's error.
    """
    scales = {n for node in model.graph.node if "quantize" in node.op_type.lower() for n in node.input[1:]}
    casts = []
    for constant in model.graph.initializer:
        small = math.prod(constant.dims) < NAMED_VALUES or constant.name in scales
        if constant.data_type != onnx.TensorProto.FLOAT or small:
            continue
        values = numpy_helper.to_array(constant)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = constant.name
        constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [constant.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
