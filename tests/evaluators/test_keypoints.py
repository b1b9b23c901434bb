"""OKS AP with COCO's tolerances."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.base.annotation import Keypoints
from model_zoo.evaluators.keypoints import KeypointEvaluator
from model_zoo.utils.errors import ModelZooError, UserError

#: From the COCO keypoint evaluation page: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
TOLERANCES = np.array([26, *[25] * 2, *[35] * 2, *[79] * 2, *[72] * 2, *[62] * 2, *[107] * 2, *[87] * 2, *[89] * 2])
AREA = 4000.0
POINTS = np.random.default_rng(0).uniform(0, 100, (17, 2)).astype(np.float32)
ALL = np.ones(17, bool)


def answer(points: np.ndarray, score: float = 0.9) -> dict[str, np.ndarray]:
    return {"keypoints": points[None], "scores": np.full((1, 17), score, np.float32)}


def moved_to(similarity: float) -> np.ndarray:
    """Every point as far away as makes its own similarity this: exp(-d² / (2 area k²)), k = 2 tolerances."""
    points = POINTS.copy()
    points[:, 0] += np.sqrt(-2 * np.log(similarity) * AREA) * 2 * TOLERANCES / 1000
    return points


def test_the_similarity_decides_which_thresholds_are_passed() -> None:
    evaluator = KeypointEvaluator()
    evaluator.add(answer(moved_to(0.72)), Keypoints(POINTS, ALL, AREA))
    assert evaluator.value() == pytest.approx(50)  # 0.5, 0.55, 0.6, 0.65, 0.7 of the ten
    assert evaluator.details() == {"AP@.5": pytest.approx(100)}


def test_hidden_points_and_persons_do_not_count() -> None:
    evaluator = KeypointEvaluator()
    wrong = POINTS.copy()
    wrong[5:] = 1e4
    evaluator.add(answer(wrong), Keypoints(POINTS, np.arange(17) < 5, AREA))
    assert evaluator.value() == pytest.approx(100)
    evaluator.add(answer(wrong), Keypoints(POINTS, ~ALL, AREA))
    assert evaluator.value() == pytest.approx(100) and evaluator.sample_values() == pytest.approx([100, 100])
    with pytest.raises(ModelZooError, match="no object to find"):
        evaluator.value(np.array([1]))


def test_sure_mistakes_cost_precision() -> None:
    evaluator = KeypointEvaluator()
    for points, score in ((POINTS, 0.5), (POINTS + 500, 0.9)):
        evaluator.add(answer(points, score), [Keypoints(POINTS, ALL, AREA)])
    assert evaluator.value() == pytest.approx(100 * 51 / 101 / 2)  # one of two found, behind a mistake


@pytest.mark.parametrize(
    ("person", "message"),
    [
        (Keypoints(POINTS[:5], ALL[:5], AREA), "17 keypoints"),
        (Keypoints(POINTS, ALL, 0.0), "area positive"),
        (Keypoints(POINTS * np.float32(np.nan), ALL, AREA), "must be finite"),
    ],
)
def test_a_truth_that_cannot_be_is_refused(person: Keypoints, message: str) -> None:
    with pytest.raises(UserError, match=message):
        KeypointEvaluator().add(answer(POINTS), person)
