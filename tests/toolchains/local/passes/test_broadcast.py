"""An Expand in front of an operator that broadcasts goes, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.runtimes import qnn
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.toolchains.local.quantize.calibrate import cpu_session
from model_zoo.utils.numerics import sqnr_db
from tests.toolchains.builds import compile_qnn
from tests.toolchains.local.conftest import apply_passes

_PASS = "broadcast_by_operator"


def _normalized(shape: list[int], outputs: tuple[str, ...] = ("y",), other: str = "x") -> onnx.ModelProto:
    """Each vector divided by its length, as torch writes it."""
    constants = {"axes": np.array([1]), "shape": np.array(shape), "one": np.ones((1,), np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("ReduceL2", ["x", "axes"], ["norm"], "norm"),
            helper.make_node("Expand", ["norm", "shape"], ["expand"], "expand"),
            helper.make_node("Div", [other, "expand"], ["y"], "div"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def _sample(shape: list[int]) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}


@pytest.mark.parametrize(
    ("outputs", "other", "applied"),
    [
        (("y",), "x", True),
        (("y", "expand"), "x", False),  # wanted itself
        (("y",), "one", False),  # it is what makes the result large
    ],
)
def test_where_it_applies(outputs: tuple[str, ...], other: str, applied: bool) -> None:
    model, plain = (_normalized([1, 8, 4, 6], outputs, other) for _ in range(2))
    assert (_PASS in apply_passes(model, Precision.W8A8)) == applied
    assert ("Expand" in [node.op_type for node in model.graph.node]) != applied
    onnx.checker.check_model(model, full_check=True)
    sample = _sample([1, 8, 4, 6])
    found = [cpu_session(each).run(None, sample)[0] for each in (plain, model)]
    assert np.array_equal(*found)


def test_in_which_precisions_it_applies() -> None:
    """Those with 8 bits, also beside outputs of 16: in 16 bits v68 has no memory for the operator that broadcasts."""
    applied = {p for p in Precision if _PASS in apply_passes(_normalized([1, 8, 4, 6]), p)}
    assert applied == {Precision.W8A8, Precision.W8A8_MIXED_INT16}


@pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
def test_v68_has_memory_for_a_large_one(tmp_path: Path) -> None:
    shape = [1, 256, 60, 80]
    sample = _sample(shape)
    onnx.save(_normalized(shape), tmp_path / "float.onnx")
    quantized = quantize_onnx(
        tmp_path / "float.onnx", precision=Precision.W8A8, calibration=[sample], out_dir=tmp_path, stem="net"
    )
    build = compile_qnn(
        quantized.file,
        chipset=find_chipset("sm8350"),
        precision=Precision.W8A8,
        runtime=TargetRuntime.QNN_CONTEXT_BINARY,
        out_dir=tmp_path,
        stem="net",
        inputs=[sample],
    )
    assert build.placement.whole and build.outputs is not None
    expected = cpu_session(_normalized(shape)).run(None, sample)[0]
    assert sqnr_db(expected, build.outputs[0]["y"]) > 30
