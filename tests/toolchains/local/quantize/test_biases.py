"""Channels that training switched off: next to no weight, and a bias that 32 bits do not count in its steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.onnx_graph import dequantized
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.utils.numerics import sqnr_db


@pytest.mark.parametrize("precision", [Precision.W8A8, Precision.W8A16, Precision.W4A16])
@pytest.mark.parametrize("factor", [0.0, 1e-6])
def test_a_bias_beside_tiny_weights_is_kept(tmp_path: Path, precision: Precision, factor: float) -> None:
    random = np.random.default_rng(0)
    weight = random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    weight[:3] *= factor
    tensors = {"w": weight, "b": random.uniform(1, 2, 8).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"), helper.make_node("Relu", ["c"], ["y"], "relu")]
    shapes = {"x": [1, 3, 8, 8], "y": [1, 8, 6, 6]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    constants = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "net", [values["x"]], [values["y"]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    samples = [{"x": random.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)} for _ in range(12)]
    built = quantize_onnx(
        tmp_path / "m.onnx", precision=precision, calibration=samples, out_dir=tmp_path, stem="quantized"
    )
    (conv,) = (node for node in ir.load(built.file).graph if node.op_type == "Conv")
    bias = dequantized(conv.inputs[2])
    assert (
        bias is not None and bias.integers is not None and np.abs(bias.integers.astype(np.int64)).max() < 2**28 * 1.01
    )
    expected, actual = (OnnxModel(file).run(samples) for file in (tmp_path / "m.onnx", built.file))
    dead = [np.stack([each["y"][:, :3] for each in outputs]) for outputs in (expected, actual)]
    assert sqnr_db(*dead) > 35
