"""Outputs that 8 bits are too coarse for get 16, back to the last linear operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.toolchains.local.quantize.mixed import decoding


@pytest.fixture
def model() -> onnx.ModelProto:
    """Conv, Relu, Conv, Sigmoid, times 640: positions in pixels; and the second Conv's values as they are."""
    random = np.random.default_rng(0)
    weights = {
        "first": random.normal(size=(4, 3, 1, 1)),
        "second": random.normal(size=(2, 4, 1, 1)),
        "pixels": np.array(640.0),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"], "a"),
        helper.make_node("Relu", ["a"], ["b"], "b"),
        helper.make_node("Conv", ["b", "second"], ["logits"], "logits"),
        helper.make_node("Sigmoid", ["logits"], ["shares"], "shares"),
        helper.make_node("Mul", ["shares", "pixels"], ["boxes"], "boxes"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 8, 8]) for name in ("boxes", "shares")]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        values[:1],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_decoding_ends_at_the_last_linear_operator(model: onnx.ModelProto) -> None:
    everything = {"image", "a", "b", "logits", "shares", "boxes"}
    assert decoding(model, ["boxes"], everything) == {"logits", "shares", "boxes"}
    assert decoding(model, ["boxes"], {"shares", "b"}) == {"shares"}
    assert decoding(model, [], everything) == set()


def test_positions_are_finer_than_8_bits(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "float.onnx")
    random = np.random.default_rng(1)
    samples = [{"image": random.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(4)]
    values = {}
    for name, outputs in (("narrow", ()), ("wide", ("boxes",))):
        made = quantize_onnx(
            tmp_path / "float.onnx",
            precision=Precision.W8A8,
            calibration=samples,
            out_dir=tmp_path,
            stem=name,
            outputs_16bit=outputs,
        )
        assert made.settings.get("outputs_16bit", []) == list(outputs)
        graph = onnx.load(made.file).graph
        (last,) = [node for node in graph.node if node.op_type == "DequantizeLinear" and "boxes" in node.output]
        scale = next(t for t in graph.initializer if t.name == last.input[1])
        values[name] = float(numpy_helper.to_array(scale))
    assert values["narrow"] > 1 > 50 * values["wide"]
