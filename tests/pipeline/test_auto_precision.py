"""The search for the cheapest bits: its order, its end, and that the build is what was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from model_zoo.base.model import BaseModel
from model_zoo.evaluators.base import BaseEvaluator, Score
from model_zoo.pipeline import auto_precision
from model_zoo.pipeline.auto_precision import Cost, assignment_of, cost_of, ranked_upgrades, shortest
from model_zoo.pipeline.options import Backend
from model_zoo.toolchains.base import Assignment
from model_zoo.toolchains.measurement import Sensitivity
from model_zoo.utils.errors import ModelZooError, UserError
from tests.pipeline.conftest import Digits

Export = Callable[..., Any]


class Unscored(Digits):
    """The same without an evaluator."""

    @classmethod
    def get_evaluator(cls) -> type[BaseEvaluator] | None:
        return None


def found(kind: str, tensor: str, bits: int, elements: int, noise: float) -> Sensitivity:
    return Sensitivity(
        layer=tensor, op_type="Conv", kind=kind, tensor=tensor, bits=bits, elements=elements, noise=noise
    )


SENSITIVITY = [
    found("weights", "w1", 4, 100, 0.5),
    found("weights", "w2", 4, 1000, 0.5),
    found("activation", "a1", 8, 10, 0.2),
    found("weights", "w1", 8, 100, 0.1),
    found("activation", "a2", 8, 1000, 0.001),
    found("weights", "w2", 8, 1000, 0.0),
]


def test_upgrades_are_ranked_by_noise_saved_for_each_byte() -> None:
    upgrades = ranked_upgrades(SENSITIVITY)
    assert [upgrade.tensor for upgrade in upgrades] == ["a1", "w1", "w2", "a2"]
    assert assignment_of(upgrades, 0) == Assignment((), ("w1", "w2"))
    assert assignment_of(upgrades, 2) == Assignment(("a1",), ("w2",))
    assert assignment_of(upgrades, 4) == Assignment(("a1", "a2"), ())
    assert cost_of(SENSITIVITY, assignment_of(upgrades, 2)) == Cost(weights=100 + 500, activations=20 + 1000)


@pytest.mark.parametrize("needed", [0, 1, 11, 39, 40])
def test_bisection_finds_the_shortest_beginning(needed: int) -> None:
    tried: list[int] = []

    def keeps(count: int) -> bool:
        tried.append(count)
        return count >= needed

    assert shortest([10.0 * n for n in range(41)], keeps, resolution=0) == needed
    assert tried[0] == 0 and len(tried) <= 8 and len(set(tried)) == len(tried)


def test_bisection_stops_where_little_is_left_to_save() -> None:
    tried: list[int] = []

    def keeps(count: int) -> bool:
        tried.append(count)
        return count >= 11

    assert shortest([10.0 * n for n in range(41)], keeps, resolution=100) in range(11, 22) and len(tried) <= 4
    assert shortest([0.0, 1.0], lambda count: False, resolution=0) is None


def test_the_build_is_what_was_found(small_export: Export) -> None:
    arguments = {"chipset": ["sm8650", "sm8750"], "precision": "auto", "max_drop": 100, "calibration_data": None}
    result = small_export(Digits(), **arguments)
    for target in result.targets:
        assert target.folder.name.startswith("qnn_context_binary-auto-")
        metadata = json.loads((target.folder / "metadata.json").read_text())
        assert metadata["precision"] == "auto"
        search = metadata["searches"]["small"]
        assert len(search["tried"]) == 1 and len(search["chosen"]["weights_4bit"]) == 2
        assert search["chosen"]["cost"]["weights"] == (64 * 16 + 16 * 10) // 2
        assert search["scored_on"]["dataset"] == "digits"
        (component,) = target.components
        assert component.verified and component.compiled.npu_nodes == component.compiled.nodes
        assert len(component.settings["weights_4bit"]) == 2


def test_a_metric_that_cannot_be_kept_fails_and_names_the_best(small_export: Export, monkeypatch: Any) -> None:
    measured = auto_precision._score

    def worse(build: Any, draw: Any, place: Backend, title: str) -> Score:
        score = measured(build, draw, place, title)
        return score if place is Backend.TORCH else score.model_copy(update={"value": score.value - 50})

    monkeypatch.setattr(auto_precision, "_score", worse)
    with pytest.raises(ModelZooError, match=r"the best of 2, .* MB, loses .* calibration samples") as failed:
        small_export(Digits(), runtime="onnx", precision="auto", max_drop=1, calibration_data=None)
    assert "max_drop=" in (failed.value.hint or "")


@pytest.mark.parametrize(
    ("model", "arguments", "told"),
    [
        (Unscored, {"precision": "auto"}, "has no evaluator"),
        (Digits, {"precision": "auto", "max_drop": -1}, "give 0 or more"),
        (Digits, {"precision": "w8a8", "max_drop": 1}, "may lose"),
        (Digits, {"precision": "auto", "runtime": "tflite"}, "cannot mix precisions"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    small_export: Export, model: type[BaseModel], arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        small_export(model(), **{"runtime": "onnx", **arguments})
