"""Levels in tiles of rows, heads one at a time, weights that several nodes share: only the memory changes."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edge.compression.int8_onnx import own_weights, store_int8
from edge.export.attention import Attention
from edge.export.delegable import Downsampling
from edge.export.tiles import RowTiles, Upsampled
from edge.models.transformer import Attention as Trained


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(4, 40),
    kernel=st.integers(1, 8),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    count=st.integers(1, 4),
)
def test_tiles_are_the_whole(rows, kernel, stride, padding, count):
    if padding >= kernel or rows + 2 * padding < kernel + stride * (count - 1):
        return  # less than a row for each tile
    torch.manual_seed(rows)
    conv = nn.Conv2d(3, 5, (kernel, 3), (stride, 1), (padding, 1))
    x, skip = torch.randn(2, 1, 3, rows, 6)

    def level(x, skip):
        return torch.tanh(conv(torch.relu(x) + skip))

    with torch.no_grad():
        whole = level(x, skip)
        torch.testing.assert_close(RowTiles([conv], count)(level, x, skip), whole)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 3),
    stride=st.integers(2, 5),
    padding=st.integers(0, 3),
    channels=st.integers(1, 8),
    outputs=st.integers(1, 9),
)
def test_two_taps_of_many_channels_are_the_strided_convolution(rows, stride, padding, channels, outputs):
    torch.manual_seed(channels)
    conv = nn.Conv2d(channels, 5, (1, 2 * stride), (1, stride), (0, padding))
    length = (outputs + 1) * stride - 2 * padding  # whole strides, as the networks' encoders see to
    if length < 1:
        return
    with torch.no_grad():
        x = torch.randn(1, channels, rows, length)
        assert Downsampling.fits(conv)
        torch.testing.assert_close(Downsampling(conv)(x), conv(x), rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(2, 9),
    kernel=st.integers(1, 8),
    stride=st.integers(1, 5),
    crop=st.integers(0, 3),
    count=st.integers(1, 4),
)
def test_upsampled_tiles_are_the_whole(rows, kernel, stride, crop, count):
    upsampling = nn.ConvTranspose2d(2, 3, (kernel, 1), (stride, 1), (crop, 0))
    height = (rows - 1) * stride + kernel - 2 * crop
    if kernel < stride or height < 3 + count:
        return
    torch.manual_seed(rows)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    x, skip = torch.randn(1, 2, rows, 5), torch.randn(1, 3, height, 5)

    def level(skip, x):
        return conv(torch.relu(x) + skip)

    with torch.no_grad():
        whole = level(skip, upsampling(x))
        upsampling.padding = (0, 0)
        made = Upsampled(upsampling, x, crop)
        assert made.size == height
        torch.testing.assert_close(made.cut(1, height - 1), made.cut(0, height)[:, :, 1:-1])
        if count > 1:
            torch.testing.assert_close(RowTiles([conv], count)(level, skip, made), whole)


def test_a_tile_takes_only_its_rows():
    conv = nn.Conv2d(1, 1, (8, 1), (4, 1), (2, 0))
    tiles, seen = RowTiles([conv], 4), []

    def level(tile):
        seen.append(tile.shape[2])
        return conv(tile)

    tiles(level, torch.randn(1, 1, 64, 5))
    assert seen == [4 * 4 + 4] * 4  # of 64 rows four for each of four outputs, and the four that the kernel overlaps


@pytest.mark.parametrize("large", [1, 200, 30 * 17])
def test_heads_and_queries_some_at_a_time(monkeypatch, large):
    torch.manual_seed(0)
    trained = Trained(24, 4, 6)
    x, y = torch.randn(1, 30, 24), torch.randn(1, 17, 24)
    with torch.no_grad():
        together = Attention(trained, torch.ones(24))(x, y)
        monkeypatch.setattr(Attention, "LARGE", large)
        scores, softmax = [], torch.softmax
        monkeypatch.setattr(torch, "softmax", lambda x, axis: scores.append(x.numel()) or softmax(x, axis))
        torch.testing.assert_close(Attention(trained, torch.ones(24))(x, y), together)
        assert sum(scores) == 4 * 30 * 17 and max(scores) <= max(large, 17)


def two_convolutions(weight):
    shape = [1, 2, 1, 5]
    nodes = [helper.make_node("Conv", ["x", "w"], [f"y{i}"], name=f"conv{i}") for i in range(2)]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Add", ["y0", "y1"], ["y"])],
        "twice",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 1, 5])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_a_weight_that_two_nodes_share_is_stored_once():
    weight = np.random.default_rng(0).standard_normal((4, 2, 1, 1)).astype(np.float32)
    model = two_convolutions(weight)
    store_int8(model, {"conv0", "conv1"})
    onnx.checker.check_model(model)
    assert [i.name for i in model.graph.initializer] == ["w_int8", "w_scale"]
    x = np.random.default_rng(1).standard_normal((1, 2, 1, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, 2 * np.einsum("oi,bihw->bohw", weight[..., 0, 0], x), atol=0.05)


def test_nodes_in_static_int8_share_no_weight():
    weight = np.random.default_rng(0).standard_normal((4, 2, 1, 1)).astype(np.float32)
    model = two_convolutions(weight)
    own_weights(model, ["conv0", "conv1"])
    names = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    assert len(set(names)) == 2
    assert all(np.array_equal(arrays[name], weight) for name in names)
