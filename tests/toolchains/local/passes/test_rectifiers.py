"""What the range in front of a Clip or Relu cannot do is done by Max and Min, with the same numbers; the rest stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.onnx_graph import find_bounds
from model_zoo.toolchains.local.quantize.calibrate import cpu_session
from tests.toolchains.local.conftest import apply_passes

_SHAPE = [1, 4, 8, 8]


def _net(nodes: list[onnx.NodeProto], outputs: tuple[str, ...] = ("y",), **bounds: float) -> onnx.ModelProto:
    weights = {name: np.array(value, np.float32) for name, value in bounds.items()}
    weights["w"] = np.random.default_rng(0).normal(0, 3, (4, 4, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"], "conv"), *nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


_CLIP = helper.make_node("Clip", ["c", "low", "high"], ["y"], "clip")
_TWICE = [_CLIP, helper.make_node("Add", ["c", "y"], ["z"], "add")]
_JOINED = [
    helper.make_node("Add", ["c", "c"], ["s"], "sum"),
    helper.make_node("Clip", ["s", "low", "high"], ["y"], "clip"),
    helper.make_node("Transpose", ["y"], ["t"], "turn", perm=[0, 1, 3, 2]),
    helper.make_node("Concat", ["t", "x"], ["z"], "join", axis=1),
]
_TURNED = [
    helper.make_node("Transpose", ["c"], ["t"], "turn", perm=[0, 1, 3, 2]),
    helper.make_node("Relu", ["t"], ["y"], "relu"),
    helper.make_node("Concat", ["y", "x"], ["z"], "join", axis=1),
]
_COMPUTED = [
    helper.make_node("ReduceMax", ["x"], ["high"], "max", keepdims=0),
    helper.make_node("Clip", ["c", "", "high"], ["y"], "clip"),
]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (_net([_CLIP], low=1, high=4), ["Conv", "Clip", "Max"]),
        (_net([_CLIP], low=-4, high=-1), ["Conv", "Clip", "Min"]),
        (_net(_TWICE, ("z",), low=0, high=6), ["Conv", "Max", "Min", "Add"]),
        (_net([_CLIP], ("y", "c"), low=0, high=6), ["Conv", "Max", "Min"]),
        (_net(_JOINED, ("z",), low=0, high=6), ["Conv", "Add", "Max", "Min", "Transpose", "Concat"]),
        (_net(_TURNED, ("z",)), ["Conv", "Transpose", "Max", "Concat"]),
        (_net(_COMPUTED), ["Conv", "ReduceMax", "Min"]),
    ],
    ids=["above zero", "below zero", "of a tensor that others read", "of an output", "in a Concat", "Relu", "computed"],
)
def test_max_and_min_cut_off_instead(model: onnx.ModelProto, expected: list[str]) -> None:
    sample = {"x": np.random.default_rng(1).normal(size=_SHAPE).astype(np.float32)}
    before = cpu_session(model).run(None, sample)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    assert apply_passes(changed, Precision.W8A16) == ["rectify_by_max_and_min"]
    assert [node.op_type for node in changed.graph.node] == expected
    onnx.checker.check_model(changed, full_check=True)
    for found, wanted in zip(cpu_session(changed).run(None, sample), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("bounds", [{"low": 0, "high": 6}, {"low": -1, "high": 1}, {"low": 1e-12, "high": 9}])
def test_a_clip_that_a_range_can_do_stays(bounds: dict[str, float]) -> None:
    assert apply_passes(_net([_CLIP], **bounds), Precision.W8A16) == []
    assert apply_passes(_net([_CLIP], low=1, high=4), Precision.FLOAT) == []


def test_bounds_go_through_one_rectifier_after_the_other() -> None:
    nodes = [
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Clip", ["r", "", "high"], ["y"]),
        helper.make_node("Clip", ["c", "low"], ["z"]),
        helper.make_node("Min", ["z", "high"], ["m"]),
    ]
    bounds = find_bounds(ir.from_proto(_net(nodes, ("y", "m"), low=-2, high=4)).graph)
    assert bounds == {"r": (0, np.inf), "y": (0, 4), "z": (-2, np.inf), "m": (-2, 4)}
    old = helper.make_node("Clip", ["c"], ["y"], min=-1.0, max=2.0)
    model = helper.make_model(helper.make_graph([old], "net", [], []), opset_imports=[helper.make_opsetid("", 10)])
    assert find_bounds(ir.from_proto(model).graph) == {"y": (-1, 2)}
