"""How well embeddings of sentences tell likeness."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from model_zoo.base.annotation import Similarity
from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Metric, UndefinedScoreError, one_output
from model_zoo.utils.errors import ModelZooError, UserError


class EmbeddingEvaluator(BaseEvaluator):
    """Spearman's rank correlation of cosine similarity with what people said, times 100, as MTEB prints it.

    The model's one output is [B, D]. Both sentences of a pair stand side by side.
    """

    metric: ClassVar[Metric] = Metric("Spearman x 100", "", -100.0, 100.0, higher_is_better=True, max_drop=1.0)
    #: Embeddings have length 1.
    record: ClassVar[Arrays] = {
        "pair": np.zeros(0, np.int64),
        "likeness": np.zeros(0, np.float64),
        "embedding": np.zeros((0, 0), np.float32),
    }
    group_size: ClassVar[int] = 2

    def records(self, outputs: Arrays, targets: list[Similarity]) -> Arrays:
        if not all(np.isfinite(similarity.score) for similarity in targets):
            raise UserError("the likeness of two sentences must be finite")
        return {
            "pair": np.array([similarity.pair for similarity in targets], np.int64),
            "likeness": np.array([similarity.score for similarity in targets], np.float64),
            "embedding": _directions(outputs, len(targets)),
        }

    def _value(self, chosen: np.ndarray) -> float:
        from scipy.stats import spearmanr

        cosines, likeness = self._pairs(chosen)
        if len(cosines) < 2 or not np.ptp(cosines) or not np.ptp(likeness):
            raise UndefinedScoreError("a rank correlation needs pairs of different likeness")
        return 100.0 * float(spearmanr(cosines, likeness).statistic)

    def sample_values(self) -> np.ndarray:
        """100 less how far a pair's rank is from the right one, in percent of all ranks; for both sentences."""
        from scipy.stats import rankdata

        cosines, likeness = self._pairs(np.arange(len(self)))
        apart = np.abs(rankdata(cosines) - rankdata(likeness)) / max(len(cosines) - 1, 1)
        return np.repeat(100.0 * (1.0 - apart), self.group_size)

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """The cosine of both embeddings of a sentence, in percent."""
        return np.asarray(100.0 * np.sum(_directions(outputs) * _directions(reference), axis=1))

    def _pairs(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cosine similarity and likeness of each pair among these samples."""
        recorded = self.recorded()
        pair, likeness, embedding = (recorded[key][chosen] for key in self.record)
        if len(chosen) % 2 or not np.array_equal(pair[::2], pair[1::2]):
            raise ModelZooError("the sentences of a pair do not stand side by side", "score whole pairs")
        return np.sum(embedding[::2] * embedding[1::2], axis=1), likeness[::2]


def _directions(outputs: Arrays, batch: int | None = None) -> np.ndarray:
    """float32 [B, D] of length 1."""
    embedding = one_output(outputs, "size", batch=batch).astype(np.float32)
    length = np.linalg.norm(embedding, axis=1, keepdims=True)
    if not length.all():
        raise ModelZooError("an embedding is all zeros and points nowhere")
    return np.asarray(embedding / length)
