"""MatMuls of 16-bit activations have all their bits on the NPUs that can, and compile for those that cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_zoo.base.spec import Arrays
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local import qnn
from model_zoo.toolchains.local.npu_rewrites import sign_second_factors
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.toolchains.local.quantize.calibrate import cpu_session
from model_zoo.utils.numerics import sqnr_db
from tests.toolchains.builds import QnnBuild, compile_qnn
from tests.toolchains.local.conftest import rewritten

_SHAPES = {"a": [1, 4, 64, 96], "b": [1, 4, 96, 32]}
_SAMPLE: Arrays = {
    name: np.random.default_rng(0).uniform(-2, 3, shape).astype(np.float32) for name, shape in _SHAPES.items()
}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products with the same second factor, in float."""
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["y"], "first"),
        helper.make_node("MatMul", ["y_sum", "b"], ["z"], "second"),
    ]
    nodes.insert(1, helper.make_node("Add", ["a", "a"], ["y_sum"], "sum"))
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in _SHAPES.items()]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 64, 32]) for name in "yz"]
    graph = helper.make_graph(nodes, "net", inputs, outputs)
    path = tmp_path_factory.mktemp("product") / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def _quantized(product: Path, precision: Precision) -> Path:
    return quantize_onnx(
        product, precision=precision, calibration=[_SAMPLE], out_dir=product.parent, stem=precision.value
    ).file


def _compiled(file: Path, chipset: str) -> QnnBuild:
    return compile_qnn(
        file,
        chipset=find_chipset(chipset),
        precision=Precision.W8A16,
        runtime=TargetRuntime.QNN_CONTEXT_BINARY,
        out_dir=file.parent / chipset,
        stem="net",
        inputs=[_SAMPLE],
    )


def test_the_numbers_stay_and_a_factor_is_converted_once(product: Path) -> None:
    model = onnx.load(_quantized(product, Precision.W8A16))
    before = cpu_session(model).run(["y", "z"], _SAMPLE)
    nodes = len(model.graph.node)
    assert rewritten(model, sign_second_factors) == 2 and len(model.graph.node) == nodes + 2
    onnx.checker.check_model(model, full_check=True)
    after = cpu_session(model).run(["y", "z"], _SAMPLE)
    assert all(sqnr_db(*pair) > 75 for pair in zip(before, after, strict=True))


def test_8_bits_are_left_as_they_are(product: Path) -> None:
    model = onnx.load(_quantized(product, Precision.W8A8))
    before = model.SerializeToString()
    assert rewritten(model, sign_second_factors) == 0 and model.SerializeToString() == before


@pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
def test_all_bits_count_on_the_npu(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cpu_session(onnx.load(product)).run(["y"], _SAMPLE)[0]
    file = _quantized(product, Precision.W8A16)

    def found(chipset: str) -> float:
        build = _compiled(file, chipset)
        assert build.placement.whole and build.outputs is not None
        assert ("signed_factors" in build.settings) == (chipset == "sm8650" and signed)
        return sqnr_db(expected, build.outputs[0]["y"])

    signed = True
    assert found("sm8650") > 70 and found("sm8350") > 45
    monkeypatch.setattr(qnn, "rewrite_generation", lambda chipset, precision: None)
    signed = False
    assert found("sm8650") < 55, "this NPU takes unsigned factors in 16 bits now: sign_second_factors can go"
