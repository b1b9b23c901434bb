"""Mean intersection over union of semantic segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from model_zoo.base.annotation import IGNORED
from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Metric, UndefinedScoreError, one_output, resized
from model_zoo.utils.draw import overlay_classes
from model_zoo.utils.errors import ModelZooError, UserError

if TYPE_CHECKING:
    from PIL import Image


class SegmentationEvaluator(BaseEvaluator):
    """mIoU in percent over the pixels of all pictures; classes that are neither there nor predicted are left out.

    The model's one output is logits [B, classes, H, W], or the classes themselves [B, H, W]. The target is uint8
    [H, W], `IGNORED` where nothing is scored; logits of another size are resized to it, bilinearly, as the published
    figures are taken, and classes by the nearest.
    """

    metric: ClassVar[Metric] = Metric("mIoU", "%", 0.0, 100.0, higher_is_better=True, max_drop=1.0)
    #: Pixels of each class: right, in the target, predicted. All that a confusion matrix tells of mIoU, but smaller.
    record: ClassVar[Arrays] = {"pixels": np.zeros((0, 3, 0), np.int64)}
    target_axes = 2

    def records(self, outputs: Arrays, targets: list[np.ndarray]) -> Arrays:
        from torch import from_numpy
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        predicted, classes = _predicted(outputs, batch=len(targets))
        pixels = []
        for truth, one in zip(targets, predicted, strict=True):
            if truth.ndim != 2 or not np.issubdtype(truth.dtype, np.integer):
                raise UserError(f"a segmentation target is integers [H, W], got {truth.dtype} {list(truth.shape)}")
            wrong = truth[((truth < 0) | (truth >= classes)) & (truth != IGNORED)]
            if len(wrong):
                raise UserError(
                    f"the dataset has class {wrong[0]}, the model gives {classes} classes",
                    "evaluate it on the dataset it was trained for",
                )
            confusion = multiclass_confusion_matrix(
                from_numpy(_classes(one, truth.shape)),
                from_numpy(truth.astype(np.int64)),
                num_classes=classes,
                ignore_index=IGNORED,
                validate_args=False,  # done above, with a clearer message
            ).numpy()
            pixels.append(np.stack([confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)]))
        return {"pixels": np.stack(pixels).astype(np.int64)}

    def _value(self, chosen: np.ndarray) -> float:
        value = float(_mean_iou(self.recorded()["pixels"][chosen].sum(axis=0)))
        if np.isnan(value):
            raise UndefinedScoreError("the truth of these pictures holds no pixel that is scored")
        return value

    def sample_values(self) -> np.ndarray:
        """The mIoU of each picture alone; one without a pixel that is scored counts as perfect."""
        values = _mean_iou(self.recorded()["pixels"])
        return np.where(np.isnan(values), 100.0, values)

    def details(self) -> dict[str, float]:
        right, truth, _ = self.recorded()["pixels"].sum(axis=(0, 2))
        return {"pixel accuracy": 100.0 * float(right / truth)}

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """The share of pixels that get the same class."""
        both = zip(_predicted(outputs)[0], _predicted(reference)[0], strict=True)
        return np.array([100.0 * np.mean(_classes(a, b.shape[-2:]) == _classes(b, b.shape[-2:])) for a, b in both])

    @classmethod
    def draw_outputs(cls, picture: Image.Image, outputs: Arrays) -> Image.Image:
        predicted = _predicted(outputs, batch=1)[0][0]
        return overlay_classes(picture, _classes(predicted, (picture.height, picture.width)), IGNORED)

    @classmethod
    def draw_target(cls, picture: Image.Image, target: np.ndarray) -> Image.Image:
        return overlay_classes(picture, target, IGNORED)

    def _consistent(self, arrays: Arrays) -> bool:
        right, truth, predicted = np.moveaxis(arrays["pixels"], 1, 0)
        return bool(((right >= 0) & (right <= truth) & (right <= predicted)).all())


def _mean_iou(pixels: np.ndarray) -> np.ndarray:
    """In percent over the classes of counts [..., 3, classes]; NaN where there is none."""
    right, truth, predicted = np.moveaxis(pixels, -2, 0)
    union = truth + predicted - right
    present = union > 0
    with np.errstate(invalid="ignore"):
        means: np.ndarray = 100.0 * np.sum(right / np.maximum(union, 1), axis=-1) / np.sum(present, axis=-1)
    return means


def _predicted(outputs: Arrays, batch: int | None = None) -> tuple[np.ndarray, int]:
    """Logits [B, classes, H, W] or classes [B, H, W], and how many classes there can be."""
    if any(values.ndim == 3 for values in outputs.values()):
        predicted = one_output(outputs, "height", "width", batch=batch)
        if predicted.min() < 0 or predicted.max() >= IGNORED:
            raise ModelZooError(f"classes are 0..{IGNORED - 1}, the model gives {predicted.min()}..{predicted.max()}")
        return predicted, IGNORED
    predicted = one_output(outputs, "classes", "height", "width", batch=batch)
    if predicted.shape[1] > IGNORED:
        raise ModelZooError(f"targets name at most {IGNORED} classes, the model gives {predicted.shape[1]}")
    return predicted, predicted.shape[1]


def _classes(predicted: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """int64 [H, W] of this size, of logits [classes, h, w] or classes [h, w]."""
    if predicted.ndim == 3:
        return np.asarray(resized(predicted, size).argmax(axis=0))
    return np.asarray(resized(predicted[None], size, "nearest")[0].astype(np.int64))
