"""Layer by layer: the figures are those of whole runs, and the layer that was spoilt is the one that shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.layerwise import measure_layers
from model_zoo.toolchains.local.quantize import quantize_onnx
from model_zoo.toolchains.measurement import LayerError, LayerErrors
from model_zoo.utils.numerics import sqnr_db

GENERATOR = np.random.default_rng(0)
SAMPLES = [{"image": GENERATOR.random((1, 3, 8, 8), dtype=np.float32)} for _ in range(2)]


@pytest.fixture(scope="module")
def build(onnx_writer: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three convolutions, the first two with a Relu: float and w8a8."""
    folder = tmp_path_factory.mktemp("layers")
    constants = {f"w{i}": GENERATOR.normal(size=(4, 3 if i == 0 else 4, 3, 3)).astype(np.float32) for i in range(3)}
    nodes, last = [], "image"
    for index in range(3):
        out = f"c{index}" if index < 2 else "features"
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [out], f"conv{index}", pads=[1, 1, 1, 1]))
        if index < 2:
            nodes.append(helper.make_node("Relu", [out], [f"r{index}"], f"relu{index}"))
        last = f"r{index}"
    sides = [("image", TensorProto.FLOAT, [1, 3, 8, 8])], [("features", TensorProto.FLOAT, [1, 4, 8, 8])]
    captured = onnx_writer(folder / "float.onnx", nodes, *sides, constants)
    return captured, quantize_onnx(
        captured, precision=Precision.W8A8, calibration=SAMPLES, out_dir=folder, stem="w8a8"
    ).file


def test_the_npu_stays_near_the_host_layer_by_layer(build: tuple[Path, Path]) -> None:
    found = measure_layers(*build, SAMPLES, precision=Precision.W8A8, chipset=find_chipset("sm8650"))
    assert [layer.layer for layer in found.layers] == ["conv0", "conv1", "conv2"] and not found.skipped
    outputs = [[sample["features"] for sample in OnnxModel(file).run(SAMPLES)] for file in build]
    assert found.layers[-1].host_db == pytest.approx(sqnr_db(*map(np.stack, outputs)), abs=1e-3)
    assert found.layers[0].host_db > 30
    assert all(layer.npu_db is not None and abs(layer.npu_db - layer.host_db) < 3 for layer in found.layers)
    assert set(found.shift_db) == {"host CPU", "NPU emulator"} and min(found.shift_db.values()) > 50
    assert LayerErrors.model_validate_json(found.model_dump_json()) == found


def test_a_spoilt_layer_shows_and_those_before_it_do_not(build: tuple[Path, Path], tmp_path: Path) -> None:
    captured, lowered = build
    model = onnx.load(lowered)
    (scale,) = [tensor for tensor in model.graph.initializer if tensor.name == "w1_scale"]
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * 2, scale.name))
    onnx.save(model, tmp_path / "spoilt.onnx")
    first, second, third = measure_layers(captured, tmp_path / "spoilt.onnx", SAMPLES, precision=Precision.W8A8).layers
    assert first.host_db > 30 and second.host_db < 10 and third.host_db < 10
    assert first.npu_db is None


def test_ratios_without_a_number_survive_json() -> None:
    found = LayerErrors(
        layers=(LayerError(layer="a", op_type="Conv", host_db=np.inf, npu_db=-np.inf),),
        skipped=("b",),
        shift_db={"host CPU": np.inf},
    )
    assert LayerErrors.model_validate_json(found.model_dump_json()) == found
