"""Word error rate of speech recognition."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Metric
from model_zoo.utils.errors import ModelZooError, UserError


class SpeechEvaluator(BaseEvaluator):
    """WER in percent: all words wrong, left out or made up, over all words spoken.

    Case and punctuation do not count. A model's subclass says how its outputs are read.
    """

    metric: ClassVar[Metric] = Metric("WER", "%", 0.0, float("inf"), higher_is_better=False, max_drop=1.0)
    record: ClassVar[Arrays] = {"errors": np.zeros(0, np.int32), "words": np.zeros(0, np.int32)}

    @classmethod
    @abstractmethod
    def decode(cls, outputs: Arrays) -> list[str]:
        """The text of each sample of a batch.

        Raises:
            ModelZooError: The outputs are not the model's, or not finite.
        """

    def records(self, outputs: Arrays, targets: list[str]) -> Arrays:
        texts = self.decode(outputs)
        if len(texts) != len(targets):
            raise ModelZooError(f"the outputs hold {len(texts)} texts for {len(targets)} samples")
        counts = np.array([_word_errors(truth, text) for truth, text in zip(targets, texts, strict=True)], np.int32)
        if silent := [truth for truth, (_, words) in zip(targets, counts, strict=True) if not words]:
            raise UserError(f"the transcript {silent[0]!r} has no word", "leave this sample out of the dataset")
        return {"errors": counts[:, 0], "words": counts[:, 1]}

    def _value(self, chosen: np.ndarray) -> float:
        recorded = self.recorded()
        return 100.0 * float(recorded["errors"][chosen].sum() / recorded["words"][chosen].sum())

    def sample_values(self) -> np.ndarray:
        recorded = self.recorded()
        return np.asarray(100.0 * recorded["errors"] / recorded["words"])

    @classmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """100 less the word error rate against torch's text, not below 0."""
        texts = zip(cls.decode(reference), cls.decode(outputs), strict=True)
        errors, words = np.array([_word_errors(*pair) for pair in texts]).T
        return np.asarray(np.maximum(0.0, 100.0 * (1 - errors / np.maximum(words, 1))))

    def _consistent(self, arrays: Arrays) -> bool:
        return super()._consistent(arrays) and bool((arrays["errors"] >= 0).all() and (arrays["words"] > 0).all())


def _word_errors(truth: str, text: str) -> tuple[int, int]:
    """How many words are wrong, and how many there are."""
    import jiwer

    punctuation = jiwer.RemovePunctuation()  # type: ignore[no-untyped-call]
    spaces, words = (jiwer.RemoveMultipleSpaces(), jiwer.Strip()), jiwer.ReduceToListOfListOfWords()
    plain = jiwer.Compose([jiwer.ToLowerCase(), punctuation, *spaces, words])
    counts = jiwer.process_words(truth, text, plain, plain)
    errors = counts.substitutions + counts.deletions + counts.insertions
    return errors, counts.hits + counts.substitutions + counts.deletions
