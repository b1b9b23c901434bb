"""Top-1 accuracy of classifiers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Score
from model_zoo.utils.errors import ModelZooError, UserError


class ClassificationEvaluator(BaseEvaluator):
    """Top-1 accuracy over all samples, in percent. The model's one output is [batch, classes]; the largest wins."""

    def __init__(self) -> None:
        self._samples = 0
        self._right = 0

    def add(self, outputs: Arrays, target: int | Sequence[int]) -> None:
        if len(outputs) != 1:
            raise ModelZooError(f"a classifier has one output, got {', '.join(outputs) or 'none'}")
        name, logits = next(iter(outputs.items()))
        targets = np.atleast_1d(np.asarray(target, np.int64))
        if logits.ndim != 2 or len(logits) != len(targets):
            raise ModelZooError(f"'{name}' must be [{len(targets)}, classes], got {list(logits.shape)}")
        if not np.isfinite(logits).all():
            raise ModelZooError(f"'{name}' holds NaN or infinite values after {self._samples} samples")
        if targets.min() < 0 or targets.max() >= logits.shape[1]:
            raise UserError(
                f"the dataset has class {targets.max()}, the model gives {logits.shape[1]} classes",
                "evaluate it on the dataset it was trained for",
            )
        self._right += int(np.count_nonzero(logits.argmax(axis=1) == targets))
        self._samples += len(targets)

    def score(self) -> Score:
        if not self._samples:
            raise ModelZooError("top-1 needs at least one sample")
        return Score("top-1", 100 * self._right / self._samples, "%", True, self._samples)
