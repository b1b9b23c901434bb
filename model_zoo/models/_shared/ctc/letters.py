"""From a score for each letter every 20 ms to text."""

from __future__ import annotations

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import one_output
from model_zoo.evaluators.speech import SpeechEvaluator
from model_zoo.utils.errors import ModelZooError

#: As published with wav2vec 2.0: four marks, the space, and letters by frequency.
LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")
_MARKS = 4


def spelled(scores: np.ndarray) -> str:
    """The best letter of each frame; what repeats is one letter, unless padding stands between.

    Args:
        scores: float [frames, letters].

    Raises:
        ModelZooError: There are not as many scores as letters.
    """
    if scores.shape[1] != len(LETTERS):
        raise ModelZooError(f"the model knows {scores.shape[1]} letters, expected {len(LETTERS)}")
    best = scores.argmax(axis=1)
    kept = best[np.concatenate([[True], best[1:] != best[:-1]])]
    text = "".join(LETTERS[letter] for letter in kept if letter >= _MARKS)
    return " ".join(text.replace("|", " ").split())


class CtcEvaluator(SpeechEvaluator):
    """WER of a model that gives scores of letters [B, frames, letters]."""

    @classmethod
    def decode(cls, outputs: Arrays) -> list[str]:
        return [spelled(scores) for scores in one_output(outputs, "frames", "letters")]
