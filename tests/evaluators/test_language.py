"""Word errors and rank correlation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.base.annotation import Similarity
from model_zoo.base.spec import Arrays
from model_zoo.evaluators.embedding import EmbeddingEvaluator
from model_zoo.evaluators.speech import SpeechEvaluator
from model_zoo.utils.errors import ModelZooError, UserError


class Letters(SpeechEvaluator):
    """Outputs are the letters' numbers."""

    @classmethod
    def decode(cls, outputs: Arrays) -> list[str]:
        return ["".join(map(chr, row)).rstrip("\0") for row in outputs["letters"].astype(int)]


def said(text: str) -> Arrays:
    return {"letters": np.array([[ord(letter) for letter in text] or [0]], np.float32)}


def test_word_errors_are_counted_over_all_words() -> None:
    evaluator = Letters()
    evaluator.add(said("the bat sat down"), "THE CAT SAT")  # one wrong, one made up
    evaluator.add(said("don't, go!"), "Don't go")
    evaluator.add(said(""), "silence")  # one left out
    assert evaluator.value() == pytest.approx(100 * 3 / 6)
    assert evaluator.sample_values() == pytest.approx([200 / 3, 0, 100])
    assert Letters.agreement(said("a b x"), said("a b c")) == pytest.approx([200 / 3])
    assert Letters.agreement(said(""), said("")) == pytest.approx([100])


def test_speech_refuses_empty_transcripts_and_missing_texts() -> None:
    with pytest.raises(UserError, match="has no word"):
        Letters().add(said("word"), " ... ")
    with pytest.raises(ModelZooError, match="1 texts for 2 samples"):
        Letters().add(said("word"), ["word", "word"])


def angles(*degrees: float) -> Arrays:
    """Sentences as directions in a plane, of any length."""
    turned = np.deg2rad(degrees)
    return {"text": np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32) * 3}


def test_rank_correlation_by_hand() -> None:
    evaluator = EmbeddingEvaluator()
    # Cosines fall 0°, 10°, 50°, 30°; people said 5, 4, 3, 2: the ranks are 4 3 1 2 and 4 3 2 1.
    pairs = [Similarity(i, 5.0 - i) for i in range(4) for _ in range(2)]
    evaluator.add(angles(0, 0, 0, 10, 0), pairs[:5])  # a pair may lie across two batches
    evaluator.add(angles(50, 0, 30), pairs[5:])
    assert evaluator.value() == pytest.approx(100 * (1 - 6 * 2 / (4 * 15)))
    assert evaluator.sample_values() == pytest.approx([100, 100, 100, 100, 200 / 3, 200 / 3, 200 / 3, 200 / 3])
    with pytest.raises(ModelZooError, match="side by side"):
        evaluator.value(np.array([1, 2]))
    with pytest.raises(ModelZooError, match="different likeness"):
        evaluator.value(np.array([0, 1]))


def test_embeddings_without_direction_are_refused() -> None:
    with pytest.raises(ModelZooError, match="points nowhere"):
        EmbeddingEvaluator().add({"text": np.zeros((1, 4), np.float32)}, Similarity(0, 1.0))
    with pytest.raises(UserError, match="must be finite"):
        EmbeddingEvaluator().add(angles(0), Similarity(0, float("nan")))
