"""What the NPU makes of a Softmax."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_zoo.base.spec import Arrays
from model_zoo.runtimes import qnn
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local.quantize import quantize_onnx
from tests.toolchains.builds import compile_qnn

_SHAPE = (1, 4, 32, 1024)


@pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
@pytest.mark.parametrize("chipset", ["sm8350", "sm8650"])
def test_even_attention_over_many_tokens_adds_up_to_one(chipset: str, tmp_path: Path) -> None:
    sample: Arrays = {"x": (0.3 * np.random.default_rng(0).normal(size=_SHAPE)).astype(np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], "softmax", axis=-1)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, _SHAPE)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "float.onnx"
    )
    quantized = quantize_onnx(
        tmp_path / "float.onnx", precision=Precision.W8A16, calibration=[sample], out_dir=tmp_path, stem="net"
    )
    build = compile_qnn(
        quantized.file,
        chipset=find_chipset(chipset),
        precision=Precision.W8A16,
        runtime=TargetRuntime.QNN_CONTEXT_BINARY,
        out_dir=tmp_path,
        stem="net",
        inputs=[sample],
    )
    assert build.outputs is not None
    assert build.outputs[0]["y"].sum(-1).mean() == pytest.approx(1.0, abs=2e-3)
