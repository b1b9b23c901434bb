"""What v68 cuts off is made up for, on v68 only, and only where it cuts off."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_zoo.targets.hexagon import GENERATIONS
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local import qnn
from model_zoo.toolchains.local.npu_rewrites import raise_biases
from tests.toolchains.builds import QnnBuild
from tests.toolchains.local.conftest import OneLayer, rewritten

_BIAS = GENERATIONS[68].rounding_bias


@pytest.mark.parametrize(("op", "biased"), [("Conv", True), ("ConvTranspose", False)])
def test_v68_no_longer_falls_short(op: str, biased: bool, layer: OneLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    file = layer.quantized(Precision.W8A8, op, biased)

    def shortfall(build: QnnBuild) -> float:
        return -float(np.nanmean(layer.errors(file, build)))

    build = layer.compiled(file, "sm8350")
    assert build.settings["raised_biases"] == "1" and abs(shortfall(build)) < _BIAS / 2
    newer = layer.compiled(file, "sm8650")
    assert "raised_biases" not in newer.settings and abs(shortfall(newer)) < _BIAS / 4
    monkeypatch.setattr(qnn, "rewrite_generation", lambda chipset, precision: None)
    assert shortfall(layer.compiled(file, "sm8350")) > _BIAS / 2, "v68 rounds now: raise_biases can go"


def test_what_the_device_compiles_itself_is_left_as_it_is(layer: OneLayer) -> None:
    file = layer.quantized(Precision.W8A8)
    assert "raised_biases" not in layer.compiled(file, "sm8350", TargetRuntime.ONNX).settings


def test_products_of_16_bits_are_left_as_they_are(layer: OneLayer) -> None:
    model = onnx.load(layer.quantized(Precision.W8A16))
    before = model.SerializeToString()
    assert rewritten(model, raise_biases, 68) == 0 and model.SerializeToString() == before


def test_each_channel_gets_the_same_height(layer: OneLayer) -> None:
    model = onnx.load(layer.quantized(Precision.W8A8))
    height = _BIAS * numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "y_scale"))
    before = _biases(model)
    assert rewritten(model, raise_biases, 68) == 1
    assert np.allclose(_biases(model) - before, height, rtol=0.05)


def _biases(model: onnx.ModelProto) -> np.ndarray:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return constants["b_quantized"] * constants["b_quantized_scale"].astype(np.float64)
