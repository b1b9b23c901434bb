"""Errors of depth from one picture."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Metric, one_output, resized
from model_zoo.utils.errors import UserError

#: What a prediction is raised to at least, in metres, as in the usual scripts (Eigen et al., 2014): no depth is 0.
MIN_DEPTH = 1e-3


class DepthEvaluator(BaseEvaluator):
    """AbsRel, the mean of |depth - truth| / truth over the pixels of a picture, then over all pictures.

    For models that give metres, which are taken as they are. The model's one output is [B, H, W] or [B, 1, H, W]; it is
    resized bilinearly to the target, float32 [H, W] in metres, 0 where nothing was measured. Details: delta1, the
    percentage of pixels whose ratio to the truth is within 1.25.
    """

    metric: ClassVar[Metric] = Metric("AbsRel", "", 0.0, float("inf"), higher_is_better=False, max_drop=0.01)
    record: ClassVar[Arrays] = {"abs_rel": np.zeros(0, np.float64), "delta1": np.zeros(0, np.float64)}
    target_axes = 2

    def records(self, outputs: Arrays, targets: list[np.ndarray]) -> Arrays:
        rows = []
        for truth, predicted in zip(targets, _depths(outputs, len(targets)), strict=True):
            if truth.ndim != 2 or not np.isfinite(truth).all() or truth.min() < 0:
                message = "a depth target is metres [H, W], finite and not negative, 0 where nothing was measured"
                raise UserError(message)
            measured = truth > 0
            if not measured.any():
                raise UserError("a depth target has no measured pixel", "leave this picture out of the dataset")
            metres = truth[measured].astype(np.float64)
            values = resized(predicted[None], truth.shape)[0][measured].astype(np.float64)
            depth = np.maximum(self._to_metres(values, metres), MIN_DEPTH)
            within = np.maximum(depth / metres, metres / depth) < 1.25
            rows.append((np.mean(np.abs(depth - metres) / metres), 100.0 * np.mean(within)))
        return dict(zip(self.record, np.array(rows).T, strict=True))

    def _to_metres(self, values: np.ndarray, metres: np.ndarray) -> np.ndarray:
        """What the model gave for the measured pixels, float64 [N], in metres."""
        return values

    def details(self) -> dict[str, float]:
        return {"delta1 (%)": float(self.recorded()["delta1"].mean())}

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """The share of pixels that differ by at most 5 % of torch's value."""
        ours, theirs = _depths(outputs), _depths(reference)
        return np.asarray(100.0 * np.mean(np.abs(ours - theirs) <= 0.05 * np.abs(theirs), axis=(1, 2)))


class AlignedDepthEvaluator(DepthEvaluator):
    """The same for models that give inverse depth up to a scale and a shift, as MiDaS and Depth Anything do.

    Both are fitted to each picture's 1 / truth by least squares, and no pixel is taken for farther than `max_depth`
    (Ranftl et al., "Towards Robust Monocular Depth Estimation", 2020).
    """

    #: In metres; 10 is customary indoors (NYU v2), 80 in streets (KITTI).
    max_depth: ClassVar[float] = 10.0

    def _to_metres(self, values: np.ndarray, metres: np.ndarray) -> np.ndarray:
        design = np.stack([values, np.ones_like(values)], axis=1)
        fitted = design @ np.linalg.lstsq(design, 1.0 / metres, rcond=None)[0]
        return np.asarray(1.0 / np.maximum(fitted, 1.0 / self.max_depth))


def _depths(outputs: Arrays, batch: int | None = None) -> np.ndarray:
    """[B, H, W]."""
    if any(values.ndim == 4 for values in outputs.values()):
        return one_output(outputs, "1", "height", "width", batch=batch)[:, 0]
    return one_output(outputs, "height", "width", batch=batch)
