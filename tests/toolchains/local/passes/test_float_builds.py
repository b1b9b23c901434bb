"""Each rewrite for half precision keeps the numbers, can be left out, and is still needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.runtimes import qnn
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.numerics import sqnr_db
from tests.toolchains.builds import compile_qnn
from tests.toolchains.local.conftest import apply_passes

needs_qnn = pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")


def _model(nodes: Sequence[onnx.NodeProto], kind: int, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", kind, [1, 3, 8, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def _bytes() -> tuple[onnx.ModelProto, np.ndarray]:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "scale"], ["y"], "mul"),
    ]
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 9)).astype(np.uint8)
    return _model(nodes, TensorProto.UINT8, {"scale": np.array(1 / 255, np.float32)}), x


def _edges() -> tuple[onnx.ModelProto, np.ndarray]:
    nodes = [helper.make_node("Pad", ["x", "pads"], ["y"], "pad", mode="edge")]
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 9)).astype(np.float32)
    return _model(nodes, TensorProto.FLOAT, {"pads": np.array([0, 0, 1, 2, 0, 0, 0, 3], np.int64)}), x


_CASES = [("uint8_by_int32", _bytes), ("edge_pad_by_concat", _edges)]


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(("name", "make"), _CASES)
def test_rewrite_is_exact_and_can_be_left_out(name: str, make) -> None:
    model, x = make()
    before, plain = model.SerializeToString(), _run(model, x)
    assert apply_passes(model, Precision.FLOAT, without=[name]) == []
    assert apply_passes(model, Precision.W8A8) == []
    assert model.SerializeToString() == before
    assert apply_passes(model, Precision.FLOAT) == [name]
    np.testing.assert_array_equal(_run(model, x), plain)
    assert "Pad" not in [node.op_type for node in model.graph.node]


@needs_qnn
@pytest.mark.parametrize(("name", "make"), _CASES)
def test_npu_is_right_with_the_pass_only(name: str, make, tmp_path: Path) -> None:
    model, x = make()
    expected, scores = _run(model, x), []
    for passes in ([], [name]):
        assert apply_passes(model, Precision.FLOAT, without=[] if passes else [name]) == passes
        onnx.save(model, tmp_path / "net.onnx")
        build = compile_qnn(
            tmp_path / "net.onnx",
            chipset=find_chipset("sm8650"),
            precision=Precision.FLOAT,
            runtime=TargetRuntime.QNN_CONTEXT_BINARY,
            out_dir=tmp_path,
            stem="net",
            inputs=[{"x": x}],
        )
        assert build.outputs is not None
        scores.append(sqnr_db(expected, build.outputs[0]["y"]))
    assert scores[0] < 10 and scores[1] > 60
