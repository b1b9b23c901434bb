"""16-bit sums are right on average on every NPU, and v68 brings them into the steps of the result as exactly as v75."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local import qnn
from model_zoo.toolchains.local.npu_rewrites import center_accumulators
from tests.toolchains.local.conftest import OneLayer, rewritten


@pytest.mark.parametrize("chipset", ["sm8350", "sm8450", "sm8650"])
@pytest.mark.parametrize(
    ("precision", "biased"), [(Precision.W8A16, True), (Precision.W8A16, False), (Precision.W4A16, True)]
)
def test_the_sums_are_right_on_average(
    chipset: str, precision: Precision, biased: bool, layer: OneLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = layer.quantized(precision, biased=biased)

    def units() -> np.ndarray:
        """Mean error of each channel, in units of its sums."""
        errors = layer.errors(file, layer.compiled(file, chipset))
        return np.nanmean(errors, axis=(0, 2, 3)) / _steps_per_unit(file)

    mended = units()
    assert abs(mended.mean()) < 40 and np.abs(mended).max() < (150 if chipset == "sm8650" else 250)
    monkeypatch.setattr(qnn, "rewrite_generation", lambda chipset, precision: None)
    plain = units()
    assert plain.mean() < -90 and np.abs(plain).max() > 250, "this NPU keeps all bits now: center_accumulators can go"


def test_other_products_are_left_as_they_are(layer: OneLayer) -> None:
    for precision, op in ((Precision.W8A8, "Conv"), (Precision.W8A16, "ConvTranspose")):
        model = onnx.load(layer.quantized(precision, op))
        before = model.SerializeToString()
        assert rewritten(model, center_accumulators) == 0 and model.SerializeToString() == before


def _steps_per_unit(file: Path) -> np.ndarray:
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
    return constants["x_scale"].astype(np.float64) * constants["w_scale"] / constants["y_scale"]


def test_v68_multiplies_as_exactly_as_v75(layer: OneLayer) -> None:
    file = layer.quantized(Precision.W8A16)

    def spread() -> float:
        """Steps of the result."""
        return float(np.nanstd(layer.errors(file, layer.compiled(file, "sm8350"))))

    assert spread() < 0.5
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        if tensor.name in ("w_scale", "b_quantized_scale"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.0003), tensor.name))
    onnx.save(model, file)
    assert spread() > 2, "v68 takes any factor now: exact_factors can go"
