"""Products with a bias become one operator with the same numbers, and keep more of them in few bits."""

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

_PASS = "matmul_add_to_gemm"
_SAMPLES = [{"x": np.random.default_rng(seed).normal(size=(1, 20, 32)).astype(np.float32)} for seed in range(8)]


def _layer(
    shape: list[int], sum_of: tuple[str, str] = ("p", "b"), outputs: tuple[str, ...] = ("y",)
) -> onnx.ModelProto:
    """One linear layer whose outputs differ by up to 20 times."""
    draw, spread = np.random.default_rng(0), np.geomspace(0.05, 1, 48)
    weights = {"w": draw.normal(size=(32, 48)) * spread, "b": draw.normal(size=48) * spread}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"], "fc"), helper.make_node("Add", sum_of, ["y"], "add")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.mark.parametrize(
    ("shape", "sum_of", "expected"),
    [
        ([20, 32], ("p", "b"), ["Gemm"]),
        ([1, 20, 32], ("b", "p"), ["Reshape", "Gemm", "Reshape"]),
        ([2, 3, 4, 32], ("p", "b"), ["Reshape", "Gemm", "Reshape"]),
    ],
)
def test_numbers_stay(shape: list[int], sum_of: tuple[str, str], expected: list[str]) -> None:
    plain, model = _layer(shape, sum_of), _layer(shape, sum_of)
    assert apply_passes(model, Precision.W8A8) == [_PASS]
    assert [node.op_type for node in model.graph.node] == expected
    onnx.checker.check_model(model, full_check=True)
    sample = {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    found = [cpu_session(each).run(None, sample)[0] for each in (plain, model)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "model", [_layer([20, 32], outputs=("y", "p")), _layer([20, 32], ("p", "p"))], ids=["an output", "no constant"]
)
def test_other_sums_stay(model: onnx.ModelProto) -> None:
    assert apply_passes(model, Precision.W8A8) == []
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Add"]


_BLOCK_SAMPLES = [{"x": np.random.default_rng(seed).normal(size=(1, 64, 64)).astype(np.float32)} for seed in range(4)]


def _residual_block(kind: str, bounds: list[float]) -> onnx.ModelProto:
    """Two linear layers with a rectifier between them, and their input added; of a size the compiler failed at."""
    draw = np.random.default_rng(0)
    weights = {"w": draw.normal(size=(64, 256)), "v": draw.normal(size=(256, 64)), "b": np.ones(256), "c": np.ones(64)}
    weights |= {f"bound{index}": np.array(bound) for index, bound in enumerate(bounds)}
    nodes = [
        helper.make_node("Add", ["x", "x"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["p"], "up"),
        helper.make_node("Add", ["p", "b"], ["h"]),
        helper.make_node(kind, ["h", *(f"bound{index}" for index in range(len(bounds)))], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["q"], "down"),
        helper.make_node("Add", ["q", "c"], ["s"]),
        helper.make_node("Add", ["s", "t"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.mark.parametrize(("kind", "bounds"), [("Relu", []), ("Clip", [0.0, 6.0]), ("Clip", [0.0])])
def test_a_rectifier_goes_before_the_reshape(kind: str, bounds: list[float]) -> None:
    plain, model = _residual_block(kind, bounds), _residual_block(kind, bounds)
    assert apply_passes(model, Precision.W8A8) == [_PASS, "rectify_before_reshape"]
    rows = ["Reshape", "Gemm", kind, "Reshape"]
    assert [node.op_type for node in model.graph.node] == ["Add", *rows, "Reshape", "Gemm", "Reshape", "Add"]
    onnx.checker.check_model(model, full_check=True)
    found = [cpu_session(each).run(None, _BLOCK_SAMPLES[0])[0] for each in (plain, model)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
@pytest.mark.parametrize("precision", [Precision.W8A8, Precision.W8A16])
def test_a_residual_block_compiles(tmp_path: Path, precision: Precision) -> None:
    onnx.save(_residual_block("Relu", []), tmp_path / "float.onnx")
    quantized = quantize_onnx(
        tmp_path / "float.onnx", precision=precision, calibration=_BLOCK_SAMPLES, out_dir=tmp_path, stem="net"
    )
    build = compile_qnn(
        quantized.file,
        chipset=find_chipset("sm8650"),
        precision=precision,
        runtime=TargetRuntime.QNN_CONTEXT_BINARY,
        out_dir=tmp_path,
        stem="net",
        inputs=_BLOCK_SAMPLES[:1],
    )
    assert build.placement.whole and build.outputs is not None
    expected = cpu_session(_residual_block("Relu", [])).run(None, _BLOCK_SAMPLES[0])[0]
    assert sqnr_db(expected, build.outputs[0]["y"]) > 25


@pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
def test_weights_have_a_scale_for_each_output_on_the_npu(tmp_path: Path) -> None:
    onnx.save(_layer([1, 20, 32]), tmp_path / "float.onnx")
    onnx.save(_layer([1, 20, 32], outputs=("y", "p")), tmp_path / "plain.onnx")
    expected = np.stack([cpu_session(_layer([1, 20, 32])).run(None, sample)[0] for sample in _SAMPLES])
    scores = {}
    for stem in ("float", "plain"):
        quantized = quantize_onnx(
            tmp_path / f"{stem}.onnx", precision=Precision.W4A16, calibration=_SAMPLES, out_dir=tmp_path, stem="w4a16"
        )
        build = compile_qnn(
            quantized.file,
            chipset=find_chipset("sm8650"),
            precision=Precision.W4A16,
            runtime=TargetRuntime.QNN_CONTEXT_BINARY,
            out_dir=tmp_path,
            stem="net",
            inputs=_SAMPLES,
        )
        assert build.placement.whole and build.outputs is not None
        scores[stem] = sqnr_db(expected, np.stack([output["y"] for output in build.outputs]))
    assert scores["float"] > scores["plain"] + 2.0
