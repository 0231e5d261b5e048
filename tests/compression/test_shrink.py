"""ONNX files lose bytes, not meaning."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.export.shrink import NAMED_VALUES, store_half, strip


def graph(strides: list[int], pads: list[int], keepdims: int) -> onnx.ModelProto:
    """A padded convolution, a table added, a mean; every attribute stated."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 2, 3, 3)).astype(np.float32)
    length = (16 + pads[0] + pads[2] - 3) // strides[0] + 1, (16 + pads[1] + pads[3] - 3) // strides[1] + 1
    table = rng.standard_normal((1, 8, *length)).astype(np.float32)
    stated = {"kernel_shape": [3, 3], "strides": strides, "pads": pads, "dilations": [1, 1], "group": 1}
    nodes = [
        helper.make_node("Conv", ["x", "layer.weight"], ["after_convolution"], auto_pad="NOTSET", **stated),
        helper.make_node("Add", ["after_convolution", "table"], ["after_addition"], doc_string="added"),
        helper.make_node("ReduceMean", ["after_addition", "axes"], ["y"], keepdims=keepdims, name="mean"),
    ]
    constants = {"layer.weight": weight, "table": table, "axes": np.array([1])}
    model = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (3 + keepdims))],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model: onnx.ModelProto) -> np.ndarray:
    onnx.checker.check_model(model)
    x = np.random.default_rng(1).standard_normal((1, 2, 16, 16)).astype(np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("strides", [[1, 1], [2, 1]])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 2]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_stripped_graph_gives_the_same_bits(strides, pads, keepdims):
    model = graph(strides, pads, keepdims)
    before, size = run(model), model.ByteSize()
    stripped = strip(model)
    assert np.array_equal(run(stripped), before)
    assert stripped.ByteSize() < size
    stated = {a.name for a in stripped.graph.node[0].attribute}
    assert stated == {n for n, used in (("strides", strides != [1, 1]), ("pads", any(pads))) if used}


def test_large_constants_are_kept_as_half_precision():
    model = graph([1, 1], [0, 0, 0, 0], 1)
    before = run(model)
    store_half(model)
    types = {c.name: c.data_type for c in model.graph.initializer}
    assert types["table_half"] == TensorProto.FLOAT16  # 8 x 14 x 14 values
    assert types["layer.weight"] == TensorProto.FLOAT  # 144: fewer than NAMED_VALUES
    after = run(model)
    assert not np.array_equal(after, before)
    assert np.square(before).sum() > 1e6 * np.square(after - before).sum()


def test_what_half_precision_cannot_hold_stays():
    model = graph([1, 1], [0, 0, 0, 0], 1)
    table = numpy_helper.to_array(model.graph.initializer[1]).copy()
    table[0, 0, 0, 0] = 1e5
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(table, "table"))
    before = run(model)
    store_half(model)
    assert np.array_equal(run(model), before)


def test_quantization_parameters_stay():
    scale = np.full(NAMED_VALUES, 0.1, np.float32)
    nodes = [helper.make_node("DequantizeLinear", ["q", "scale"], ["y"], axis=0)]
    values = np.ones((NAMED_VALUES, 2), np.int8)
    constants = [numpy_helper.from_array(values, "q"), numpy_helper.from_array(scale, "scale")]
    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])]
    model = helper.make_model(helper.make_graph(nodes, "g", [], output, constants))
    store_half(model)
    assert [c.data_type for c in model.graph.initializer] == [TensorProto.INT8, TensorProto.FLOAT]
