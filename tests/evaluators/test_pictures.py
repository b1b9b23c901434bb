"""mIoU, PSNR and depth errors against figures worked out by hand or by another program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.classification import MulticlassJaccardIndex

from model_zoo.evaluators.depth import AlignedDepthEvaluator, DepthEvaluator
from model_zoo.evaluators.restoration import RestorationEvaluator
from model_zoo.evaluators.segmentation import SegmentationEvaluator
from model_zoo.utils.errors import ModelZooError, UserError


def logits(classes: np.ndarray, count: int) -> np.ndarray:
    """float32 [1, count, H, W] in which these classes win."""
    return np.eye(count, dtype=np.float32)[classes].transpose(2, 0, 1)[None]


def test_miou_by_hand() -> None:
    evaluator = SegmentationEvaluator()
    target = np.array([[0, 0, 1, 255]], np.uint8)
    evaluator.add({"logits": logits(np.array([[0, 1, 1, 3]]), 4)}, target)
    # Class 0: 1 of 2; class 1: 1 of 2; class 2: nowhere; class 3: predicted only where nothing is scored.
    assert evaluator.value() == pytest.approx(50)
    assert evaluator.details() == {"pixel accuracy": pytest.approx(200 / 3)}


def test_miou_is_torchmetrics_own() -> None:
    draw, evaluator = np.random.default_rng(0), SegmentationEvaluator()
    other = MulticlassJaccardIndex(6, average="none", ignore_index=255)
    for _ in range(3):
        outputs = draw.normal(size=(2, 6, 11, 13)).astype(np.float32)
        target = draw.choice([0, 1, 2, 3, 4, 255], (2, 11, 13)).astype(np.uint8)
        evaluator.add({"logits": outputs}, list(target))
        other.update(torch.from_numpy(outputs), torch.from_numpy(target.astype(np.int64)))
    assert evaluator.value() == pytest.approx(100 * float(other.compute().mean()))


def test_logits_and_classes_are_resized_to_the_target() -> None:
    halves = np.repeat([[0, 1]], 2, axis=0)
    for outputs in (logits(halves, 2), halves[None]):
        evaluator = SegmentationEvaluator()
        evaluator.add({"output": outputs}, np.repeat(np.repeat(halves, 4, 0), 4, 1).astype(np.uint8))
        assert evaluator.value() == pytest.approx(100)
    assert SegmentationEvaluator.agreement({"a": logits(halves, 2)}, {"b": halves[None]}) == pytest.approx([100])
    with pytest.raises(ModelZooError, match=r"0\.\.254, the model gives 0\.\.255"):
        SegmentationEvaluator().add({"output": halves[None] * 255}, halves)


def test_segmentation_refuses_other_classes_and_empty_truths() -> None:
    outputs = {"logits": np.zeros((1, 3, 2, 2), np.float32)}
    with pytest.raises(UserError, match="class 7, the model gives 3 classes"):
        SegmentationEvaluator().add(outputs, np.full((2, 2), 7, np.uint8))
    with pytest.raises(UserError, match=r"integers \[H, W\], got float64"):
        SegmentationEvaluator().add(outputs, np.zeros((2, 2)))
    evaluator = SegmentationEvaluator()
    evaluator.add(outputs, np.full((2, 2), 255, np.uint8))
    with pytest.raises(ModelZooError, match="no pixel that is scored"):
        evaluator.score()


def test_masks_are_drawn_over_the_picture() -> None:
    picture, target = Image.new("RGB", (4, 4), "black"), np.array([[0, 255], [1, 1]], np.uint8)
    drawn = SegmentationEvaluator.draw_target(picture, target)
    assert drawn.size == (4, 4) and drawn.getpixel((3, 0)) == (0, 0, 0) and drawn.getpixel((0, 0)) != (0, 0, 0)
    answered = SegmentationEvaluator.draw_outputs(picture, {"logits": logits(np.array([[0, 0], [1, 1]]), 2)})
    assert answered.getpixel((0, 3)) == drawn.getpixel((0, 3)) != drawn.getpixel((0, 0))


def test_psnr_and_ssim() -> None:
    target = np.random.default_rng(0).uniform(0, 0.8, (3, 32, 24)).astype(np.float32)
    evaluator = RestorationEvaluator()
    evaluator.add({"picture": np.stack([target + 0.1, target])}, [target, target])
    # A tenth everywhere is 20 dB; equal pictures are infinitely good and counted as 100.
    assert evaluator.sample_values() == pytest.approx([20, 100], abs=1e-4)
    assert evaluator.score().value == pytest.approx(60, abs=1e-4)
    flat = RestorationEvaluator()
    flat.add({"picture": np.full((1, 3, 16, 16), 0.2, np.float32)}, np.full((3, 16, 16), 0.5, np.float32))
    # Without texture only the means are compared: (2 a b + c) / (a² + b² + c), c = 0.01².
    assert flat.details()["SSIM"] == pytest.approx((0.2 + 1e-4) / (0.29 + 1e-4), abs=1e-4)
    assert evaluator.details()["SSIM"] < 1 - 1e-3


def test_pictures_are_clipped_before_they_are_scored_and_drawn() -> None:
    target = np.ones((3, 16, 16), np.float32)
    evaluator = RestorationEvaluator()
    evaluator.add({"picture": target[None] * 3}, target)
    assert evaluator.value() == 100
    drawn = RestorationEvaluator.draw_outputs(Image.new("RGB", (4, 4)), {"picture": target[None] * 3})
    assert drawn.size == (16, 16) and drawn.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.full((3, 16, 16), 2, np.float32), r"0\.\.1, got 2\.\.2"),
        (np.full((3, 16, 16), np.nan, np.float32), "got nan"),
        (np.zeros((3, 32, 32), np.float32), "made for the scale"),
    ],
)
def test_restoration_refuses_targets_that_do_not_fit(target: np.ndarray, message: str) -> None:
    with pytest.raises(ModelZooError, match=message):
        RestorationEvaluator().add({"picture": np.zeros((1, 3, 16, 16), np.float32)}, target)


def test_depth_errors_by_hand() -> None:
    evaluator = DepthEvaluator()
    evaluator.add({"depth": np.array([[[[1.1, 3.0, 9.0]]]], np.float32)}, np.array([[1.0, 2.0, 0.0]], np.float32))
    assert evaluator.value() == pytest.approx((0.1 + 0.5) / 2)
    assert evaluator.details() == {"delta1 (%)": pytest.approx(50)}
    assert evaluator.metric.drop(0.1, 0.3) == pytest.approx(0.2)  # a larger error is a drop


def test_scale_and_shift_of_inverse_depth_are_forgiven_where_a_model_has_none() -> None:
    target = np.random.default_rng(0).uniform(1, 9, (5, 6)).astype(np.float32)
    relative = {"inverse": (300 / target - 7)[None]}
    aligned, plain = AlignedDepthEvaluator(), DepthEvaluator()
    for evaluator in (aligned, plain):
        evaluator.add(relative, target)
    assert aligned.value() == pytest.approx(0, abs=1e-5) and plain.value() > 1


@pytest.mark.parametrize(
    ("target", "message"), [(np.zeros((2, 2)), "no measured pixel"), (np.full((2, 2), -1.0), "not negative")]
)
def test_depth_that_was_not_measured_is_refused(target: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DepthEvaluator().add({"depth": np.ones((1, 2, 2), np.float32)}, target)
