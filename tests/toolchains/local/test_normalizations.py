"""v68 has no ReduceL2: a division by a norm becomes one operator there, and only there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser

from model_zoo.runtimes import qnn
from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local.npu_rewrites import apply_rewrites
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.utils.numerics import sqnr_db
from tests.toolchains.builds import compile_qnn

#: As torch writes `normalize`: a norm, its lower limit, its shape, and the division; and what people write themselves.
_FORMS = ("limited = Max(norm, least)", "limited = Add(norm, least)")
_GRAPH = """<ir_version: 10, opset_import: ["" : 20]> net (float[1, 64] x) => (float[1, 64] y, float[1, 1] n)
    <int64[1] axes = {-1}, float least = {0.000001}, int64[2] shape = {1, 64}, float half = {0.5}> {
    h = Mul(x, half)  norm = ReduceL2(h, axes)  {limited}  wide = Expand(limited, shape)
    y = Div(h, wide)  n = ReduceMax(h, axes) }"""


@pytest.fixture(params=itertools.product((Precision.W8A8, Precision.W8A16), _FORMS), ids=str)
def built(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Precision, list[dict[str, np.ndarray]]]:
    onnx.save(parser.parse_model(_GRAPH.replace("{limited}", request.param[1])), tmp_path / "m.onnx")
    random = np.random.default_rng(0)
    samples = [{"x": random.normal(0, 1, (1, 64)).astype(np.float32)} for _ in range(12)]
    made = quantize_onnx(
        tmp_path / "m.onnx", precision=request.param[0], calibration=samples, out_dir=tmp_path, stem="quantized"
    )
    return made.file, request.param[0], samples


def test_it_is_rewritten_for_v68_alone(built: tuple[Path, Precision, list[dict[str, np.ndarray]]]) -> None:
    kinds = {}
    for generation in (68, 69, 75):
        model = ir.load(built[0])
        apply_rewrites(model, generation)
        kinds[generation] = {node.op_type for node in model.graph}
        onnx.checker.check_model(ir.to_proto(model))
    assert "LpNormalization" in kinds[68] and not {"ReduceL2", "Expand", "Div", "Add"} & kinds[68]
    assert all("ReduceL2" in kinds[generation] and "Div" in kinds[generation] for generation in (69, 75))


@pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
def test_v68_computes_it(built: tuple[Path, Precision, list[dict[str, np.ndarray]]], tmp_path: Path) -> None:
    file, precision, samples = built
    build = compile_qnn(
        file,
        chipset=find_chipset("qcs6490"),
        precision=precision,
        runtime=TargetRuntime.QNN_CONTEXT_BINARY,
        out_dir=tmp_path / "out",
        stem="net",
        inputs=samples,
    )
    assert build.outputs is not None
    host = OnnxModel(file).run(samples)
    outputs = [np.concatenate([each["y"] for each in side]) for side in (host, build.outputs)]
    assert sqnr_db(*outputs) > 30
