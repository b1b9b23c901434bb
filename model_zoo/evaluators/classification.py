"""Top-1 and top-5 accuracy of classifiers of pictures, clips or anything else."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Metric, one_output
from model_zoo.utils.errors import UserError


class ClassificationEvaluator(BaseEvaluator):
    """Top-1 accuracy over all samples, in percent. The model's one output is [batch, classes]; the largest wins."""

    metric: ClassVar[Metric] = Metric("top-1", "%", 0.0, 100.0, higher_is_better=True, max_drop=1.0)
    #: How many classes the model ranks before the right one (0: it is right), and how many there are.
    record: ClassVar[Arrays] = {"ranks": np.zeros(0, np.int32), "classes": np.zeros(0, np.int32)}

    def records(self, outputs: Arrays, targets: list[int]) -> Arrays:
        right = np.array(targets, np.int64)
        logits = one_output(outputs, "classes", batch=len(right), before=len(self))
        classes = logits.shape[1]
        wrong = right[(right < 0) | (right >= classes)]
        if len(wrong):
            raise UserError(
                f"the dataset has class {wrong[0]}, the model gives {classes} classes",
                "evaluate it on the dataset it was trained for",
            )
        own = np.take_along_axis(logits, right[:, None], axis=1)
        # Among equals the first wins, as in argmax.
        ties = (logits == own) & (np.arange(classes) < right[:, None])
        ranks = np.count_nonzero((logits > own) | ties, axis=1).astype(np.int32)
        return {"ranks": ranks, "classes": np.full_like(ranks, classes)}

    def _value(self, chosen: np.ndarray) -> float:
        return 100.0 * float(np.mean(self.recorded()["ranks"][chosen] == 0))

    def sample_values(self) -> np.ndarray:
        return np.where(self.recorded()["ranks"] == 0, 100.0, 0.0)

    def details(self) -> dict[str, float]:
        recorded = self.recorded()
        if recorded["classes"].min() <= 5:
            return {}
        return {"top-5": 100.0 * float(np.mean(recorded["ranks"] < 5))}

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """The same class wins: 100, else 0."""
        same = one_output(outputs, "classes").argmax(axis=1) == one_output(reference, "classes").argmax(axis=1)
        return np.where(same, 100.0, 0.0)
