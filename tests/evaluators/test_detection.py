"""mAP as COCO counts it: by hand on a few boxes, and sound on wild ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model_zoo.base.annotation import Objects
from model_zoo.base.spec import Arrays
from model_zoo.evaluators.bootstrap import interval
from model_zoo.evaluators.detection import (
    MAX_KEPT,
    MIN_SCORE,
    DetectionEvaluator,
    DetectionEvaluator50,
    detections,
)
from model_zoo.utils.errors import ModelZooError, UserError

FIRST, SECOND, FAR = (0, 0, 20, 20), (100, 0, 120, 20), (300, 300, 350, 350)


def found(*rows: tuple[float, ...]) -> Arrays:
    """Rows of x1, y1, x2, y2, class, score as a detector gives them."""
    table = np.array(rows, np.float32)[None]
    return {"boxes": table[..., :4], "class_idx": table[..., 4], "scores": table[..., 5]}


def truth(*rows: tuple[float, ...]) -> Objects:
    """Rows of x1, y1, x2, y2, class, crowd."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Objects(table[:, :4], table[:, 4].astype(np.int64), table[:, 5].astype(bool))


def test_average_precision_by_hand() -> None:
    evaluator = DetectionEvaluator()
    evaluator.add(found((*FIRST, 0, 0.9), (*FAR, 0, 0.8), (*SECOND, 0, 0.7)), truth((*FIRST, 0, 0), (*SECOND, 0, 0)))
    # Precision is 1 up to a recall of 0.5 (51 of COCO's 101 points), and 2/3 from there on.
    assert evaluator.value() == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert evaluator.details() == {"mAP@.5": pytest.approx(evaluator.value())}


def test_loose_boxes_count_at_low_overlaps_only() -> None:
    loose = (0, 0, 20, 13)  # overlaps 13/20: passes 0.5, 0.55, 0.6 and, exactly, 0.65
    strict, lenient = DetectionEvaluator(), DetectionEvaluator50()
    for evaluator in (strict, lenient):
        evaluator.add(found((*loose, 3, 0.9)), truth((*FIRST, 3, 0)))
    assert strict.value() == pytest.approx(40) and lenient.value() == pytest.approx(100)
    assert lenient.details() == {"mAP@.5:.95": pytest.approx(40)} and lenient.metric.name == "mAP@.5"


def test_crowds_and_doubles_do_no_harm_and_absent_classes_do_not_count() -> None:
    evaluator = DetectionEvaluator()
    evaluator.add(
        found(
            (*FIRST, 0, 0.5),
            (1, 1, 21, 20, 0, 0.49),  # a double: suppressed
            (310, 310, 320, 320, 0, 0.9),  # in the crowd
            (*SECOND, 7, 0.9),
            (*SECOND, 0, 0.3),
        ),
        truth((*FIRST, 0, 0), (*SECOND, 0, 0), (*FAR, 0, 1)),
    )
    assert evaluator.value() == pytest.approx(100)


def test_pictures_without_objects() -> None:
    evaluator = DetectionEvaluator()
    evaluator.add(found((*FAR, 0, 0.25)), truth())
    with pytest.raises(ModelZooError, match="holds no object to find"):
        evaluator.score()
    assert evaluator.sample_values() == pytest.approx([75])
    evaluator.add(found((*FIRST, 0, 0.9)), truth((*FIRST, 0, 0)))
    assert evaluator.value() == pytest.approx(100)
    evaluator.add(found((*FIRST, 0, 0.1)), truth((*FIRST, 0, 0)))  # what was matched before is not stale
    assert evaluator.value() == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    drawn = interval(evaluator, resamples=100)
    assert drawn is not None and drawn.resamples < 100  # some draws hold the empty picture only


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (truth((*FIRST, -1, 0)), "class -1"),
        (truth((20, 0, 0, 20, 0, 0)), "ends before it starts"),
        (truth((np.nan, 0, 0, 20, 0, 0)), "not finite"),
        (Objects(np.zeros((2, 4), np.float32), np.zeros(1, int), np.zeros(2, bool)), r"\[2, 4\] boxes, 1 classes"),
    ],
)
def test_a_truth_that_cannot_be_is_refused(objects: Objects, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DetectionEvaluator().add(found((*FIRST, 0, 0.9)), objects)


def test_outputs_of_other_models_are_refused() -> None:
    for outputs, message in (
        ({"logits": np.zeros((1, 10))}, "lack 'boxes', got logits"),
        ({**found((*FIRST, 0, 0.9)), "scores": np.zeros((1, 2))}, r"'scores' must be \[1, 1\], got \[1, 2\]"),
        (found((*FIRST, -1, 0.9)), "classes count from 0"),
    ):
        with pytest.raises(ModelZooError, match=message):
            DetectionEvaluator().add(outputs, truth())


def test_drawing_shows_what_is_sure_enough() -> None:
    picture = Image.new("RGB", (400, 400))
    drawn = DetectionEvaluator.draw_outputs(picture, found((*SECOND, 0, 0.9), (*FAR, 0, 0.2)))
    assert drawn.getpixel((100, 19)) != (0, 0, 0) and drawn.getpixel((300, 340)) == (0, 0, 0)
    assert DetectionEvaluator.draw_target(picture, truth((*FAR, 0, 1))).getpixel((300, 340)) != (0, 0, 0)


coordinate = st.floats(-1e4, 1e4, width=32)
row = st.tuples(coordinate, coordinate, coordinate, coordinate, st.integers(0, 3), st.floats(0, 1, width=32))


@settings(max_examples=60, deadline=None)
@given(st.lists(row, min_size=1, max_size=12))
def test_wild_boxes_are_thinned_out_and_scored(rows: list[tuple[float, ...]]) -> None:
    outputs = found(*rows)
    (kept,) = detections(outputs)
    assert len(kept) <= min(len(rows), MAX_KEPT) and (np.diff(kept[:, 5]) <= 0).all()
    assert (kept[:, 5] >= MIN_SCORE).all() and (kept[:, 2:4] > kept[:, :2]).all()
    assert {tuple(map(float, one)) for one in kept} <= {tuple(map(float, one)) for one in rows}
    evaluator = DetectionEvaluator()
    evaluator.add(outputs, truth(*((*one[:4], one[4], 0) for one in kept)))
    if len(kept):  # the truth is what was found
        assert evaluator.value() == pytest.approx(100)
    assert DetectionEvaluator.agreement(outputs, outputs) == pytest.approx([100])
