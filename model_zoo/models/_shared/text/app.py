"""The apps of text encoders: which sentences mean the same, which word is missing, which word does not belong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_zoo.models._shared.specs import known_spec
from model_zoo.models._shared.text.words import TokenizingApp
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.tokenizer import Tokenizer, padded

NetworkCall = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TextAnswer:
    """One answer of a text app."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class SentenceMatch(TextAnswer):
    """A sentence and the cosine of its embedding with the query's, -1..1."""

    sentence: str
    similarity: float


@dataclass(frozen=True)
class Filling(TextAnswer):
    """A word for a gap and how probable it is, 0..1; gaps count from 1."""

    gap: int
    word: str
    probability: float
    index: int


@dataclass(frozen=True)
class Suspicion(TextAnswer):
    """A token of a text and how probable it is that it was put in place of another, 0..1."""

    token: str
    probability: float
    position: int


class TextApp(TokenizingApp):
    """Turns text into what the model takes.

    Args:
        model: Takes ids and a mask, int32 [1, T]: a model of the zoo, or one that `load_compiled` gave.
        tokenizer: A tokenizer, or the path of its file; default: the one beside the model's weights.
    """

    @checked()
    def __init__(self, model: NetworkCall, tokenizer: Tokenizer | Path | str | None = None) -> None:
        super().__init__(model, tokenizer)
        self.length = token_count(model, "input_ids", 128)

    def run(self, text: str, last_axes: int) -> tuple[list[int], np.ndarray]:
        """Ids of a text and the output for them, without the batch and without what padding gave.

        Raises:
            UserError: The text is empty or too long for the model.
            ModelZooError: The model gives something else than finite numbers of `last_axes` axes behind the batch.
        """
        if not isinstance(text, str) or not text.strip():
            raise UserError("the text is empty")
        ids = self.tokenizer.ids(text)
        if len(ids) > self.length:
            hint = "shorten it, or give --compiled an export with a larger --sequence-length"
            raise UserError(f"the text has {len(ids)} tokens, the model takes {self.length}", hint)
        with torch.inference_mode():
            output = self.model(*map(torch.from_numpy, padded(ids, self.length, self.tokenizer.pad_id)))
        if not isinstance(output, torch.Tensor) or output.ndim != 1 + last_axes or len(output) != 1:
            shape = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise ModelZooError(f"the model gave {shape}, expected one output with {1 + last_axes} axes")
        if not bool(torch.isfinite(output).all()):
            raise ModelZooError("the model gave NaN or infinite values")
        return ids, output[0].float().numpy()


class SimilarityApp(TextApp):
    """Ranks sentences by how much they mean what a query means."""

    def embed(self, text: str) -> np.ndarray:
        """The embedding of one text: float32 [size], of length 1."""
        return self.run(text, last_axes=1)[1]

    @checked()
    def predict(self, query: str, sentences: Sequence[str]) -> list[SentenceMatch]:
        """All sentences, the nearest to the query first.

        Raises:
            UserError: There is no sentence, or a text is empty or too long.
        """
        if isinstance(sentences, str) or not sentences:
            raise UserError("give a list of sentences to compare with")
        query_vector = self.embed(query)
        matches = [SentenceMatch(sentence, float(self.embed(sentence) @ query_vector)) for sentence in sentences]
        return sorted(matches, key=lambda match: -match.similarity)


class MaskedWordApp(TextApp):
    """Guesses the words at the gaps of a text."""

    @checked()
    def predict(self, text: str, top_k: int = 5) -> list[Filling]:
        """The most probable words for each gap, best first.

        Args:
            text: With `[MASK]` at each gap.
            top_k: Words for a gap at most.

        Raises:
            UserError: The text has no gap, is empty or too long.
        """
        if top_k < 1:
            raise UserError(f"top_k is {top_k}, must be at least 1")
        mask = self.tokenizer.mask_id
        ids, logits = self.run(text, last_axes=2)
        gaps = [position for position, token in enumerate(ids) if token == mask]
        if mask is None or not gaps:
            raise UserError("the text has no gap to fill", "write [MASK] where a word is missing")
        fillings = []
        for number, position in enumerate(gaps, 1):
            best = torch.from_numpy(logits[position]).softmax(0).topk(min(top_k, logits.shape[1]))
            pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
            fillings += [Filling(number, self.tokenizer.word(index), value, index) for value, index in pairs]
        return fillings


class ReplacedTokenApp(TextApp):
    """Tells the words of a text that do not belong."""

    @checked()
    def predict(self, text: str) -> list[Suspicion]:
        """Each token and the probability that it was replaced, in the order of the text, without the marks around."""
        ids, scores = self.run(text, last_axes=1)
        probabilities = 1 / (1 + np.exp(-scores[: len(ids)].astype(np.float64)))
        marks = self.tokenizer.ids("")
        return [
            Suspicion(self.tokenizer.word(token), float(probability), at)
            for at, (token, probability) in enumerate(zip(ids, probabilities, strict=True))
            if token not in marks
        ]


def token_count(model: object, name: str, default: int) -> int:
    """How many tokens an input of a model of the zoo or a compiled one holds; the default for other callables."""
    spec = known_spec(model)
    return spec[name].shape[1] if spec else default
