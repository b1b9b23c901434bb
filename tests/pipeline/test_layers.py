"""Where a build goes wrong, and what people see of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_zoo.commands.sensitivity import notes, page, print_inspection
from model_zoo.pipeline.layers import Inspection, first_wrong, inspect_layers
from model_zoo.pipeline.options import BuildOptions
from model_zoo.sources.module import ModuleSource
from model_zoo.toolchains.measurement import LayerError, LayerErrors, Sensitivity
from model_zoo.utils.errors import UserError

INF = float("inf")


def errors(host: Sequence[float], npu: Sequence[float] | None = None) -> LayerErrors:
    layers = [
        LayerError(layer=f"l{i}", op_type="Conv", host_db=db, npu_db=npu[i] if npu else None)
        for i, db in enumerate(host)
    ]
    return LayerErrors(layers=tuple(layers), skipped=(), shift_db={"host CPU": INF})


@pytest.mark.parametrize(
    ("found", "index"),
    [
        (errors([40, 35, 30]), None),
        (errors([40, 29.9, 28]), 1),
        (errors([40, 45, 34, 31, 23, 20]), None),
        (errors([INF, 20, 15]), None),
        (errors([40, 35, 30], [40, 32.5, 27.5]), None),
        (errors([40, 35, 30], [40, 31.5, 29]), 1),
        (errors([80, 75, 70], [60, 51, 49]), 2),
        (errors([40, 35, 30], [40, 35, -INF]), 2),
        (errors([20, -INF, 5]), 1),
        (errors([]), None),
    ],
)
def test_the_first_wrong_layer(found: LayerErrors, index: int | None) -> None:
    wrong = first_wrong(found)
    assert (wrong.index if wrong else None) == index


def test_half_precision_is_held_to_its_own_rule() -> None:
    found = errors([120, 120], [60, 45])
    assert first_wrong(found) is not None and first_wrong(found, half_precision=True) is None


def test_a_component_is_inspected(encoder: Any, tmp_path: Path) -> None:
    samples = tmp_path / "samples.npz"
    np.savez(samples, image=np.random.default_rng(0).random((16, 3, 16, 16), dtype=np.float32))
    options = BuildOptions(chipset="sm8650", calibration_data=samples)
    (found,) = inspect_layers(ModuleSource(encoder, "small", None, None), options).values()
    assert [layer.op_type for layer in found.errors.layers] == ["Conv", "ReduceMean"] and found.wrong is None
    assert {each.kind for each in found.ranking} == {"activation", "weights"}
    assert notes(found)[0] == "No layer goes wrong by itself."
    assert found.to_json()["first_wrong"] is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (BuildOptions(precision="float"), "needs one quantized precision"),
        (BuildOptions(precision="auto"), "needs one quantized precision"),
        (BuildOptions(runtime="tflite", calibration_data="random"), "layers of a tflite file"),
    ],
)
def test_what_cannot_be_inspected_is_refused(encoder: Any, options: BuildOptions, told: str) -> None:
    with pytest.raises(UserError, match=told):
        inspect_layers(ModuleSource(encoder, "small", None, None), options)


def test_the_first_wrong_layer_is_shown_and_names_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "<script>alert(1)</script>"
    layers = tuple(
        LayerError(layer=name, op_type="Conv", host_db=host, npu_db=npu)
        for name, host, npu in (("stem", 40, 40), (hostile, 39, 12))
    )
    errors = LayerErrors(layers=layers, skipped=("lost",), shift_db={"host CPU": INF, "NPU emulator": 33.0})
    wide = {"op_type": "Conv", "kind": "weights", "bits": 4, "elements": 10, "noise": 0.1}
    ranking = [
        Sensitivity(layer=hostile, tensor="w", **wide),
        Sensitivity(layer="a", op_type="Add", kind="activation", tensor="a", bits=8, elements=1, noise=0.0),
    ]
    found = Inspection(ranking, errors, first_wrong(errors))
    text = page("net", {"net": found})
    assert "<script" not in text and "&lt;script&gt;" in text and text.count("<svg") == 2
    assert "33.0 dB from before" in text and "no such tensor: lost" in text
    print_inspection("net", found)
    printed = capsys.readouterr().out
    assert "12.0 dB on the NPU emulator, 39.0 dB on the host CPU" in printed and "10.0 dB" in printed
    assert next(line for line in printed.splitlines() if "first wrong" in line).strip().startswith("<script>")
