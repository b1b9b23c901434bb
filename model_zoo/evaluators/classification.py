"""Top-1 and top-5 accuracy of classifiers of pictures, clips or anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Metric
from model_zoo.utils.errors import ModelZooError, UserError


class ClassificationEvaluator(BaseEvaluator):
    """Top-1 accuracy over all samples, in percent. The model's one output is [batch, classes]; the largest wins."""

    metric: ClassVar[Metric] = Metric("top-1", "%", 0.0, 100.0, higher_is_better=True, max_drop=1.0)

    def __init__(self) -> None:
        #: Of each sample, how many classes the model ranks before the right one; 0: it is right.
        self._ranks = np.zeros(0, np.int32)
        self._classes = 0

    def add(self, outputs: Arrays, target: int | Sequence[int]) -> None:
        targets = np.atleast_1d(np.asarray(target, np.int64))
        logits = _logits(outputs, len(self))
        if len(logits) != len(targets):
            raise ModelZooError(f"the logits must be [{len(targets)}, classes], got {list(logits.shape)}")
        self._classes = logits.shape[1]
        if targets.min() < 0 or targets.max() >= self._classes:
            wrong = targets[(targets < 0) | (targets >= self._classes)][0]
            raise UserError(
                f"the dataset has class {wrong}, the model gives {self._classes} classes",
                "evaluate it on the dataset it was trained for",
            )
        own = np.take_along_axis(logits, targets[:, None], axis=1)
        # Among equals the first wins, as in argmax.
        ties = (logits == own) & (np.arange(self._classes) < targets[:, None])
        ranks = np.count_nonzero((logits > own) | ties, axis=1)
        self._ranks = np.concatenate([self._ranks, ranks.astype(np.int32)])

    def __len__(self) -> int:
        return len(self._ranks)

    def value(self, chosen: np.ndarray | None = None) -> float:
        return self._share_within(1, chosen)

    def sample_values(self) -> np.ndarray:
        return np.where(self._ranks == 0, 100.0, 0.0)

    def details(self) -> dict[str, float]:
        return {"top-5": self._share_within(5)} if self._classes > 5 else {}

    def state(self) -> Arrays:
        return {"ranks": self._ranks, "classes": np.array(self._classes)}

    def restore(self, state: Arrays) -> None:
        self._ranks = np.concatenate([self._ranks, state["ranks"]])
        self._classes = int(state["classes"])

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """The same class wins: 100, else 0."""
        same = _logits(outputs).argmax(axis=1) == _logits(reference).argmax(axis=1)
        return np.where(same, 100.0, 0.0)

    def _share_within(self, places: int, chosen: np.ndarray | None = None) -> float:
        ranks = self._ranks if chosen is None else self._ranks[chosen]
        if not len(ranks):
            raise ModelZooError(f"{self.metric.name} needs at least one sample")
        return 100.0 * float(np.mean(ranks < places))


def _logits(outputs: Arrays, before: int = 0) -> np.ndarray:
    """The one output, [batch, classes]."""
    if len(outputs) != 1:
        raise ModelZooError(f"a classifier has one output, got {', '.join(outputs) or 'none'}")
    name, logits = next(iter(outputs.items()))
    if logits.ndim != 2:
        raise ModelZooError(f"'{name}' must be [batch, classes], got {list(logits.shape)}")
    if not np.isfinite(logits).all():
        raise ModelZooError(f"'{name}' holds NaN or infinite values after {before} samples")
    return logits
