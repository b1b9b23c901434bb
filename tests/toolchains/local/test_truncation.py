"""What v68 cuts off is made up for, on v68 only, and only where it cuts off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local import qnn
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.toolchains.local.quantize.calibrate import cpu_session
from model_zoo.toolchains.local.truncation import SHORTFALL, raise_biases

_SAMPLES = [{"x": np.random.default_rng(seed).normal(size=(1, 32, 16, 16)).astype(np.float32)} for seed in range(2)]


def _quantized(op: str, biased: bool, folder: Path, precision: Precision = Precision.W8A8) -> Path:
    """One layer of 32 channels."""
    draw = np.random.default_rng(0)
    transpose = op == "ConvTranspose"
    shape = (32, 24, 2, 2) if transpose else (24, 32, 3, 3)
    weights = {"w": draw.normal(size=shape), "b": draw.normal(size=24)}
    attributes = {"strides": [2, 2]} if transpose else {"pads": [1] * 4}
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w", "b"][: 3 if biased else 2], ["y"], "layer", **attributes)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), folder / "float.onnx")
    return quantize_onnx(
        folder / "float.onnx", precision=precision, calibration=_SAMPLES, out_dir=folder, stem="layer"
    ).file


def _compiled(file: Path, chipset: str, runtime: TargetRuntime = TargetRuntime.QNN_CONTEXT_BINARY) -> qnn.QnnBuild:
    return qnn.compile_qnn(
        file,
        chipset=find_chipset(chipset),
        precision=Precision.W8A8,
        runtime=runtime,
        out_dir=file.parent / chipset,
        stem="layer",
        inputs=_SAMPLES,
    )


def _shortfall(file: Path, build: qnn.QnnBuild) -> float:
    """Steps of the result by which the emulator is below the product of the quantized values, on average."""
    model = onnx.load(file)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    step, zero = float(constants["y_scale"]), int(constants["y_zero_point"])
    del model.graph.node[-2:]  # QuantizeLinear and DequantizeLinear of the result
    model.graph.output[0].name = model.graph.node[-1].output[0]
    product = cpu_session(model)
    lacking: list[np.ndarray] = []
    assert build.outputs is not None
    for sample, outputs in zip(_SAMPLES, build.outputs, strict=True):
        exact = product.run(None, sample)[0] / step
        inside = (exact + zero > 0.6) & (exact + zero < 254.4)
        lacking.append((exact - outputs["y"] / step)[inside])
    return float(np.concatenate(lacking).mean())


@pytest.mark.parametrize(("op", "biased"), [("Conv", True), ("ConvTranspose", False)])
def test_v68_no_longer_falls_short(op: str, biased: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _quantized(op, biased, tmp_path)
    build = _compiled(file, "sm8350")
    assert build.settings["raised_biases"] == "1" and abs(_shortfall(file, build)) < SHORTFALL / 2
    newer = _compiled(file, "sm8650")
    assert "raised_biases" not in newer.settings and abs(_shortfall(file, newer)) < SHORTFALL / 4
    monkeypatch.setattr(qnn, "forms_for", lambda chipset, precision: [])
    assert _shortfall(file, _compiled(file, "sm8350")) > SHORTFALL / 2, "v68 rounds now: truncation.py can go"


def test_what_the_device_compiles_itself_is_left_as_it_is(tmp_path: Path) -> None:
    file = _quantized("Conv", True, tmp_path)
    assert "raised_biases" not in _compiled(file, "sm8350", TargetRuntime.ONNX).settings


def test_products_of_16_bits_are_left_as_they_are(tmp_path: Path) -> None:
    model = onnx.load(_quantized("Conv", True, tmp_path, Precision.W8A16))
    before = model.SerializeToString()
    assert raise_biases(model) == 0 and model.SerializeToString() == before


def test_each_channel_gets_the_same_height(tmp_path: Path) -> None:
    model = onnx.load(_quantized("Conv", True, tmp_path))
    height = SHORTFALL * numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "y_scale"))
    before = _biases(model)
    assert raise_biases(model) == 1
    assert np.allclose(_biases(model) - before, height, rtol=0.05)


def _biases(model: onnx.ModelProto) -> np.ndarray:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return constants["b_quantized"] * constants["b_quantized_scale"].astype(np.float64)
