"""Equalization: outputs stay, uneven channels gain, and what was scaled is still compared rightly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.base.spec import Arrays
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.layerwise import measure_layers
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.toolchains.local.quantize.calibrate import cpu_session
from model_zoo.toolchains.local.quantize.equalize import equalize, find_factors, find_pairs, recorded

_DRAW = np.random.default_rng(0)
_SAMPLES: list[Arrays] = [{"x": _DRAW.normal(size=(1, 4, 12, 12)).astype(np.float32)} for _ in range(8)]


def _weight(*shape: int) -> np.ndarray:
    return (_DRAW.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def _model(nodes: Sequence[onnx.NodeProto], weights: dict[str, np.ndarray], outputs: Sequence[str]) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 12, 12])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.fixture(scope="module")
def uneven() -> onnx.ModelProto:
    """A convolution whose channels differ by up to 64 times, a depthwise, a grouped and a last one."""
    spread = np.geomspace(1 / 64, 1, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
    weights = {
        "first.weight": _weight(8, 4, 3, 3) * spread,
        "first.bias": _DRAW.normal(size=8).astype(np.float32) * spread.reshape(-1),
        "slope": np.full((8, 1, 1), 0.2, np.float32),
        "depthwise.weight": _weight(8, 1, 3, 3),
        "grouped.weight": _weight(6, 4, 3, 3) / np.tile(spread.reshape(2, 1, 4), (1, 3, 1)).reshape(6, 4, 1, 1),
        "last.weight": _weight(5, 6, 1, 1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first.weight", "first.bias"], ["a"], "first"),
        helper.make_node("PRelu", ["a", "slope"], ["b"], "prelu"),
        helper.make_node("Conv", ["b", "depthwise.weight"], ["c"], "depthwise", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "grouped.weight"], ["d"], "grouped", group=2),
        helper.make_node("LeakyRelu", ["d"], ["e"], "leaky"),
        helper.make_node("MaxPool", ["e"], ["f"], "pool", kernel_shape=[2, 2]),
        helper.make_node("Conv", ["f", "last.weight"], ["y"], "last"),
    ]
    return _model(nodes, weights, ["y"])


@pytest.mark.parametrize("for_weights", [False, True])
def test_outputs_stay_the_same(uneven: onnx.ModelProto, for_weights: bool) -> None:
    model = ir.from_proto(uneven)
    pairs = find_pairs(model.graph)
    assert [pair.between for pair in pairs] == [("a", "b"), ("c",), ("d", "e", "f")]
    factors = find_factors(uneven, pairs, _SAMPLES, for_weights)
    equalize(pairs, factors)
    assert max(factor.max() / factor.min() for factor in factors) > 4
    for sample in _SAMPLES:
        expected, found = (cpu_session(each).run(None, sample)[0] for each in (uneven, model))
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_tensors_that_something_else_sees_are_left_alone() -> None:
    weights = {f"w{index}": _weight(4, 4, 1, 1) for index in range(4)}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "read_twice"),
        helper.make_node("Conv", ["a", "w1"], ["b"], "output"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "bent"),
        helper.make_node("Sigmoid", ["c"], ["d"], "sigmoid"),
        helper.make_node("Conv", ["d", "w3"], ["e"], "last"),
        helper.make_node("Add", ["a", "e"], ["y"], "sum"),
    ]
    assert find_pairs(ir.from_proto(_model(nodes, weights, ["y", "b"])).graph) == []


def test_uneven_channels_gain_and_are_compared_rightly(uneven: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(uneven, tmp_path / "float.onnx")
    result = quantize_onnx(
        tmp_path / "float.onnx", precision=Precision.W8A8, calibration=_SAMPLES, out_dir=tmp_path, stem="w8a8"
    )
    scores = result.settings["equalization_sqnr_db"]
    assert result.settings["equalized"] and scores["equalized"] > scores["plain"] + 3.0
    assert set(recorded(onnx.load(result.file))) == {"a", "b", "c", "d", "e", "f"}
    found = measure_layers(tmp_path / "float.onnx", result.file, _SAMPLES[:2], precision=Precision.W8A8)
    assert min(layer.host_db for layer in found.layers) > 20
