"""Masks of attention that are further below zero than 16 bits and half precision hold beside the scores."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser

from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.onnx_graph import constant
from model_zoo.toolchains.local.passes import apply_passes

_HEAD = '<ir_version: 10, opset_import: ["" : 20]> net (float[1, 2, 4, 4] scores, int64[1, 1, 1, 4] keep) => '
_MIN = "-3.4028234e38"
GRAPHS = {
    "added product": """(float[1, 2, 4, 4] y) <float one = {1.0}, float far = {-1000000000.0}> {
        kept = Cast<to = 1>(keep)  hidden = Sub(one, kept)  mask = Mul(hidden, far)  masked = Add(scores, mask)
        y = Softmax<axis = -1>(masked) }""",
    "positive factor": """(float[1, 2, 4, 4] y) <float one = {1.0}, float far = {1000000000.0}> {
        kept = Cast<to = 1>(keep)  hidden = Sub(kept, one)  mask = Mul(hidden, far)  masked = Add(mask, scores)
        y = Softmax<axis = -1>(masked) }""",
    "chosen": f"""(float[1, 2, 4, 4] y) <int64 zero = {{0}}, float none = {{0.0}}, float far = {{{_MIN}}}> {{
        kept = Greater(keep, zero)  mask = Where(kept, none, far)  masked = Add(scores, mask)
        p = Softmax<axis = -1>(masked)  bad = IsNaN(p)  q = Where(bad, none, p)  y = Mul(q, q) }}""",
    "filled": f"""(float[1, 2, 4, 4] y) <int64 zero = {{0}}, float far = {{{_MIN}}}> {{
        hidden = Equal(keep, zero)  masked = Where(hidden, far, scores)  y = Softmax<axis = -1>(masked) }}""",
}


def _model(text: str) -> onnx.ModelProto:
    model = parser.parse_model(_HEAD + text)
    onnx.checker.check_model(model, full_check=True)
    return model


def _run(model: onnx.ModelProto, folder: object) -> np.ndarray:
    file = f"{folder}/m.onnx"
    onnx.save(model, file)
    scores = np.random.default_rng(0).normal(0, 3, (1, 2, 4, 4)).astype(np.float32)
    return OnnxModel(file).run([{"scores": scores, "keep": np.array([[[[1, 0, 1, 1]]]])}])[0]["y"]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("precision", [Precision.FLOAT, Precision.W8A16])
def test_a_mask_is_clamped_and_masks_all_the_same(name: str, precision: Precision, tmp_path: object) -> None:
    model = _model(GRAPHS[name])
    changed = ir.from_proto(model)
    assert "clamp_masks" in apply_passes(changed, precision)
    constants = [constant(value) for node in changed.graph for value in node.inputs]
    assert max(float(np.abs(each).max()) for each in constants if each is not None and each.dtype.kind == "f") <= 50
    assert "IsNaN" not in {node.op_type for node in changed.graph}
    np.testing.assert_allclose(_run(ir.to_proto(changed), tmp_path), _run(model, tmp_path), atol=1e-6)


def test_constants_that_mask_nothing_stay() -> None:
    text = """(float[1, 2, 4, 4] y, float[1, 1, 1, 4] z) <float far = {-1000000000.0}, float small = {-2.0}> {
        kept = Cast<to = 1>(keep)  z = Mul(kept, far)  moved = Add(scores, small)  y = Softmax<axis = -1>(moved) }"""
    assert "clamp_masks" not in apply_passes(ir.from_proto(_model(text)), Precision.W8A16)
