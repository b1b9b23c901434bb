"""Top-1 counts what it should and refuses what it cannot count."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.evaluators.classification import ClassificationEvaluator
from model_zoo.utils.errors import ModelZooError


def test_top_1_over_batches_of_different_size() -> None:
    evaluator = ClassificationEvaluator()
    evaluator.add({"logits": np.array([[0.1, 0.9, 0.0], [5.0, -1.0, 2.0]], np.float32)}, [1, 2])
    evaluator.add({"logits": np.array([[-3.0, -2.0, -1.0]], np.float16)}, 2)
    score = evaluator.score()
    assert score.value == pytest.approx(200 / 3) and score.samples == 3
    assert (score.name, score.unit, score.higher_is_better) == ("top-1", "%", True)


@pytest.mark.parametrize(
    ("outputs", "target", "message"),
    [
        ({"logits": np.full((1, 3), np.nan, np.float32)}, 0, "NaN"),
        ({"logits": np.zeros((1, 3), np.float32)}, [3], "class 3, the model gives 3 classes"),
        ({"logits": np.zeros((2, 3), np.float32)}, [0], r"must be \[1, classes\]"),
        ({"boxes": np.zeros((1, 3)), "scores": np.zeros((1, 3))}, [0], "one output, got boxes, scores"),
    ],
)
def test_what_cannot_be_scored_is_refused(outputs: dict[str, np.ndarray], target: object, message: str) -> None:
    with pytest.raises(ModelZooError, match=message):
        ClassificationEvaluator().add(outputs, target)


def test_no_samples_is_no_score() -> None:
    with pytest.raises(ModelZooError, match="at least one sample"):
        ClassificationEvaluator().score()
