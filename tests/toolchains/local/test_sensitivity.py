"""Sensitivity: the ranking is what rounding each tensor by hand gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_zoo.toolchains.local.sensitivity import measure_sensitivity, rounded
from model_zoo.toolchains.measurement import Sensitivity
from model_zoo.utils.numerics import sqnr_db

GENERATOR = np.random.default_rng(0)
#: On a 4-bit grid for each row already.
EXACT = (GENERATOR.integers(-6, 7, (8, 8)) / 8).astype(np.float32)
EXACT[:, 0] = 7 / 8
ROUGH = GENERATOR.normal(size=(8, 8)).astype(np.float32)
SAMPLES = [{"x": GENERATOR.normal(size=(1, 8)).astype(np.float32)} for _ in range(2)]


@pytest.fixture(scope="module")
def found(onnx_writer: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Sensitivity]:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Gemm", ["x", "exact"], ["h"], "first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "rough"], ["y"], "second", transB=1),
    ]
    path: Path = tmp_path_factory.mktemp("two_layers") / "model.onnx"
    sides = [("x", TensorProto.FLOAT, [1, 8])], [("y", TensorProto.FLOAT, [1, 8])]
    onnx_writer(path, nodes, *sides, {"exact": EXACT, "rough": ROUGH})
    return measure_sensitivity(path, SAMPLES)


def test_every_choice_is_ranked(found: list[Sensitivity]) -> None:
    kinds = {(each.kind, each.tensor, each.bits, each.layer) for each in found}
    weights = {
        ("weights", name, bits, layer) for name, layer in (("exact", "first"), ("rough", "second")) for bits in (4, 8)
    }
    assert kinds == weights | {("activation", "r", 8, "first"), ("activation", "y", 8, "second")}
    ratios = [each.sqnr_db for each in found]
    assert ratios == sorted(ratios)
    assert (found[0].tensor, found[0].bits) == ("rough", 4)
    assert {each.elements for each in found} == {64, 8}


def test_a_figure_is_what_rounding_by_hand_gives(found: list[Sensitivity]) -> None:
    ratios = {(each.tensor, each.bits): each.sqnr_db for each in found}
    assert ratios["exact", 4] > 100
    hidden = [np.maximum(sample["x"] @ EXACT.T, 0) for sample in SAMPLES]
    noise = [10 ** (-sqnr_db(h @ ROUGH.T, h @ rounded(ROUGH, 0, 4).T) / 10) for h in hidden]
    assert ratios["rough", 4] == pytest.approx(-10 * np.log10(np.mean(noise)), abs=0.01)
    scale = max(h.max() for h in hidden) / 255
    noise = [10 ** (-sqnr_db(h @ ROUGH.T, np.rint(h / scale) * scale @ ROUGH.T) / 10) for h in hidden]
    assert ratios["r", 8] == pytest.approx(-10 * np.log10(np.mean(noise)), abs=0.1)


def test_records_survive_json(found: list[Sensitivity]) -> None:
    assert [Sensitivity.model_validate_json(each.model_dump_json()) for each in found] == found
