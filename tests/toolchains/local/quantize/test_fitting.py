"""What the quantizer chooses: weights that fit the inputs they get, ranges that hold for new samples."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.toolchains.local.onnx_graph import set_constant
from model_zoo.toolchains.local.quantize.calibrate import Observed
from model_zoo.toolchains.local.quantize.gptq import find_scales, fit
from model_zoo.toolchains.local.quantize.ranges import CLIPPING, PLAIN, apply_method, choose_method
from model_zoo.toolchains.local.quantize.weight_fitting import LinearLayer, Stream, find_linears
from model_zoo.utils.numerics import sqnr_db


def _model(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: list[int]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(("groups", "channels"), [(1, 96), (12, 1)])
def test_fitted_weights_beat_the_nearest(groups: int, channels: int) -> None:
    draw = np.random.default_rng(0)
    inputs = 64 if groups == 1 else 9
    mix = draw.normal(size=(groups, inputs, 8))
    x = (mix @ draw.normal(size=(groups, 8, 800)) + 0.3 * draw.normal(size=(groups, inputs, 800))).astype(np.float32)
    weight = draw.normal(size=(groups, channels, inputs)).astype(np.float32)
    scales = find_scales(weight, np.square(x).mean(axis=2), 4)
    fitted = fit(weight, x[..., :600], np.zeros((groups, channels, 600), np.float32), scales, 4)
    assert set(np.unique(fitted)) <= set(range(-8, 8))
    nearest = np.clip(np.rint(weight / scales), -8, 7)
    holdout = x[..., 600:]
    scores = [sqnr_db(weight @ holdout, q * scales @ holdout) for q in (nearest, fitted)]
    assert scores[1] > scores[0] + 1.0


def test_weights_are_fitted_in_chunks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    x = (draw.normal(size=(1, 64, 8)) @ draw.normal(size=(1, 8, 600))).astype(np.float32)
    weight, residual = draw.normal(size=(1, 5, 64)).astype(np.float32), np.zeros((1, 5, 600), np.float32)
    scales = find_scales(weight, np.square(x).mean(axis=2), 4)
    monkeypatch.setattr("model_zoo.toolchains.local.quantize.gptq._CHUNK", 24)
    fitted = fit(weight, x, residual, scales, 4)
    nearest = np.clip(np.rint(weight / scales), -8, 7)
    assert sqnr_db(weight @ x, fitted * scales @ x) > sqnr_db(weight @ x, nearest * scales @ x) + 3.0
    np.testing.assert_allclose(residual, (weight - fitted * scales) @ x, atol=1e-3)


_CONVOLUTIONS = [
    {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2], "group": 1},
    {"pads": [1, 1, 1, 1], "group": 4},
]


@pytest.mark.parametrize("attributes", _CONVOLUTIONS)
def test_columns_times_matrix_is_the_convolution(attributes: dict) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1, 4, 9, 8)).astype(np.float32)
    weight = draw.normal(size=(8, 4 // attributes["group"], 3, 3)).astype(np.float32)
    proto = _model([helper.make_node("Conv", ["x", "w"], ["y"], "conv", **attributes)], {"w": weight}, [1, 4, 9, 8])
    model = ir.from_proto(proto)
    (linear,) = find_linears(model.graph)
    stream = Stream(model, [{"x": x}])
    stream.advance()
    product = linear.matrix(weight) @ linear.columns(x, weight.shape, 10**6)
    np.testing.assert_allclose(product.reshape(stream.values[0]["y"].shape), stream.values[0]["y"], atol=1e-4)
    np.testing.assert_array_equal(linear.tensor(linear.matrix(weight), weight.shape), weight)


def test_rows_times_matrix_is_the_product() -> None:
    draw = np.random.default_rng(0)
    x, weight = draw.normal(size=(2, 5, 6)).astype(np.float32), draw.normal(size=(6, 3)).astype(np.float32)
    linear = LinearLayer(ir.node("MatMul", []), axis=1, groups=1)
    product = (linear.matrix(weight) @ linear.columns(x, weight.shape, 100))[0].T
    np.testing.assert_allclose(product.reshape(2, 5, 3), x @ weight, rtol=1e-5)
    np.testing.assert_array_equal(linear.tensor(linear.matrix(weight), weight.shape), weight)


def test_stream_keeps_what_is_still_needed_and_takes_late_changes() -> None:
    """Two branches, stopped at in the other order than the graph's."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "relu"),
        helper.make_node("MatMul", ["a", "v"], ["b"], "left"),
        helper.make_node("MatMul", ["a", "w"], ["c"], "right"),
        helper.make_node("Add", ["b", "c"], ["y"], "sum"),
    ]
    weights = {name: np.eye(3, dtype=np.float32) for name in "vw"}
    model = ir.from_proto(_model(nodes, weights, [2, 3]))
    node = {node.name: node for node in model.graph}
    x = np.array([[1, -2, 3], [4, 5, -6]], np.float32)
    stream = Stream(model, [{"x": x}, {"x": 2 * x}])
    stream.advance(node["right"])
    assert [set(values) for values in stream.values] == [{"a"}, {"a"}]
    stream.advance(node["left"])
    set_constant(model.graph.initializers["v"], 3 * weights["v"])
    stream.advance()
    assert set(stream.values[0]) == {"y"}
    for factor, values in zip((1, 2), stream.values, strict=True):
        np.testing.assert_array_equal(values["y"], factor * 4 * np.maximum(x, 0))


def _observed(values: np.ndarray) -> Observed:
    return Observed(values.min(axis=1), values.max(axis=1), values.astype(np.float32), 1)


def test_ranges_leave_room_where_it_is_cheap_and_only_where_samples_differ() -> None:
    draw = np.random.default_rng(0)
    seen = _observed(draw.normal(size=(8, 1000)))
    low, high = apply_method(choose_method(seen, 65535), seen, 65535)
    assert low < 1.3 * seen.lows.min() and high > 1.3 * seen.highs.max()
    bounded = _observed(np.clip(draw.normal(2, 3, size=(8, 1000)), 0, 6))  # as behind a ReLU6
    assert apply_method(choose_method(bounded, 65535), bounded, 65535) == (0.0, 6.0)


def test_one_far_value_is_clipped_in_8_bits() -> None:
    near = _observed(np.random.default_rng(0).normal(size=(8, 20000)))
    seen = Observed(near.lows, np.where(np.arange(8) == 3, np.float32(1000), near.highs), near.values, 4096)
    _, high = apply_method("mse", seen, 255)
    assert high < 900
    assert apply_method("min-max", seen, 255)[1] == 1000


def test_more_is_clipped_where_clipping_weighs_less() -> None:
    seen = _observed(np.random.default_rng(0).laplace(size=(8, 20000)))
    widths = [np.ptp(apply_method(choose_method(seen, 255, weight), seen, 255)) for weight in (PLAIN, CLIPPING)]
    assert widths[0] < 0.9 * widths[1]


def test_single_sample_still_has_a_range() -> None:
    seen = _observed(np.linspace(-1, 3, 100)[None])
    assert apply_method(choose_method(seen, 65535), seen, 65535) == (-1.0, 3.0)
