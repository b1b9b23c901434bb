"""Greedy decoding, a token at a time, over a decoder in torch or compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from model_zoo.base.collection import CollectionModel
from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.specs import known_spec
from model_zoo.utils.errors import ModelZooError, UserError

NetworkCall = Callable[..., Any]


def parts_of(model: CollectionModel | Mapping[str, NetworkCall]) -> tuple[NetworkCall, NetworkCall]:
    """Encoder and decoder of a model of the zoo, or of what `load_compiled` gave for each.

    Raises:
        UserError: One is missing.
    """
    parts: Any = model.components if isinstance(model, CollectionModel) else model
    if not isinstance(parts, Mapping) or {"encoder", "decoder"} - set(parts):
        raise UserError("such a model has two parts", 'give {"encoder": …, "decoder": …}')
    return parts["encoder"], parts["decoder"]


def spec_of(network: NetworkCall) -> InputSpec:
    """The input spec of a model of the zoo or a compiled one.

    Raises:
        UserError: It is neither.
    """
    spec = known_spec(network)
    if not spec:
        raise UserError("a decoder must say what it takes", "give a model of the zoo, or what load_compiled gives")
    return spec


class Steps:
    """One answer under way: feeds tokens to a decoder and keeps its cache.

    Args:
        decoder: See `seq2seq.model.Seq2SeqDecoder`.
        encoded: What the encoder gave.
        source_mask: int32 [1, T], 1 for tokens of the encoder that are no padding; for decoders that take it.
    """

    def __init__(
        self, decoder: NetworkCall, encoded: Sequence[torch.Tensor], source_mask: torch.Tensor | None = None
    ) -> None:
        spec = spec_of(decoder)
        self._decoder = decoder
        self._after = ([] if source_mask is None else [source_mask], list(encoded))
        self._past = [torch.zeros(tensor.shape) for name, tensor in spec.items() if name.startswith("past_")]
        self._mask = torch.zeros(spec["attention_mask"].shape, dtype=torch.int32)
        self._count = 0

    @property
    def remaining(self) -> int:
        """How many more tokens it can take."""
        return self._mask.shape[1] - self._count

    def feed(self, token: int) -> np.ndarray:
        """Scores for the token that follows this one: float32 [vocabulary].

        Raises:
            ModelZooError: They are not finite.
        """
        mask, rest = self._after
        at = torch.tensor([self._count], dtype=torch.int32)
        with torch.inference_mode():
            self._mask[0, -1 - self._count] = 1
            logits, *self._past = self._decoder(
                torch.tensor([[token]], dtype=torch.int32), at, self._mask, *mask, *self._past, *rest
            )
        self._count += 1
        if not bool(torch.isfinite(logits).all()):
            raise ModelZooError("the decoder gave NaN or infinite scores")
        scores: np.ndarray = logits[0].float().numpy()
        return scores


def greedy(
    steps: Steps, prompt: Sequence[int], end: int, forbid: Callable[[np.ndarray, list[int]], None], limit: int
) -> list[int]:
    """The most probable token each time, until the end token, or `limit` tokens, or the cache is full.

    Args:
        prompt: What is fed first.
        forbid: Gets scores and the answer so far, and sets what may not come next to minus infinity.

    Returns:
        The answer, without prompt and end.
    """
    scores = np.zeros(0, np.float32)
    for token in prompt:
        scores = steps.feed(token)
    answer: list[int] = []
    while True:
        forbid(scores, answer)
        best = int(scores.argmax())
        if best == end or len(answer) == limit:
            return answer
        answer.append(best)
        if not steps.remaining:
            return answer
        scores = steps.feed(best)
