"""Encoder and decoder as two models: the decoder takes one token and the cache, and gives scores and the new cache.

The encoder works out the keys and values that every layer of the decoder needs of it, once for a whole answer.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from model_zoo.base.spec import InputSpec, IoType, TensorSpec
from model_zoo.models._shared.hub_parts import HubPart
from model_zoo.models._shared.seq2seq.cache import FixedCache, cache_names, cache_spec, pairs
from model_zoo.models._shared.text.model import additive


class Seq2SeqEncoder(HubPart):
    """What comes first; it ends in the keys and values for each layer of the decoder."""

    #: What makes keys and values of the features, in turn, for one layer of the decoder after another.
    projections: nn.ModuleList
    heads: int

    def project_for(self, layers: nn.ModuleList) -> None:
        """Take from the decoder's layers what reads the encoder, and nothing else."""
        attentions: list[Any] = [layer.encoder_attn for layer in layers]
        self.heads = attentions[0].num_heads
        self.projections = nn.ModuleList(linear for each in attentions for linear in (each.k_proj, each.v_proj))

    @abstractmethod
    def encode(self, *inputs: Any) -> torch.Tensor:
        """Features, float32 [B, T, size]."""

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Keys and values by layer of the decoder, float32 [B, heads, T, size of a head] each."""
        features = self.encode(*inputs)
        return tuple(linear(features).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in self.projections)

    def get_output_names(self) -> list[str]:  # type: ignore[override]  # one for each layer of the instance
        """Names of the outputs, in order."""
        return cache_names("encoded", len(self.projections) // 2)


class Seq2SeqDecoder(HubPart):
    """One step: a token in, scores for the next token and the cache out."""

    #: Whether the encoder's tokens may be padding.
    masked: ClassVar[bool] = False
    #: Tokens that are kept; with the newest, an answer has one more.
    past: ClassVar[int]
    layers: nn.ModuleList

    @classmethod
    @abstractmethod
    def vocabulary(cls) -> int:
        """How many tokens there are."""

    @classmethod
    @abstractmethod
    def source(cls) -> int:
        """How many tokens the encoder gives."""

    @abstractmethod
    def embed(self, input_ids: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """The embedding of a token at a position, float32 [B, 1, size]."""

    @abstractmethod
    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores [B, 1, vocabulary] from what the last layer gave."""

    def forward(
        self, input_ids: torch.Tensor, position: torch.Tensor, attention_mask: torch.Tensor, *cached: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Take one token further.

        Args:
            input_ids: int32 [B, 1].
            position: Position in the answer from 0, int32 [1].
            attention_mask: int32 [B, past + 1]: 1 for tokens there are, the newest last.
            cached: With padding in the encoder int32 [B, T], 1 for what is none; then keys and values of past tokens
                by layer, then those of the encoder.

        Returns:
            Scores for the next token [B, vocabulary], then keys and values of the past tokens by layer.
        """
        tensors = cached[1:] if self.masked else cached
        half = len(tensors) // 2
        cache = FixedCache(pairs(tensors[:half]), pairs(tensors[half:]))
        hidden = self.embed(input_ids, position)
        mask = additive(attention_mask, hidden.dtype)
        source_mask = additive(cached[0], hidden.dtype) if self.masked else None
        for layer in self.layers:
            # Any tensor in the place of the encoder's features says that there is an encoder; its cache is used.
            outputs = layer(hidden, mask, hidden, encoder_attention_mask=source_mask, past_key_values=cache)
            hidden = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
        return self.score(hidden)[:, 0], *cache.tensors()

    def get_input_spec(self) -> InputSpec:  # type: ignore[override]  # shapes are those of the instance
        """A token, its position, the mask, and the cache."""
        attention: Any = self.layers[0].self_attn
        shape, count = (1, attention.num_heads, self.past, attention.head_dim), len(self.layers)
        masked = {"source_mask": TensorSpec((1, self.source()), "int32", value_range=(0, 1))} if self.masked else {}
        return {
            "input_ids": TensorSpec((1, 1), "int32", IoType.TOKEN_IDS, (0, self.vocabulary() - 1)),
            "position": TensorSpec((1,), "int32", value_range=(0, self.past)),
            "attention_mask": TensorSpec((1, self.past + 1), "int32", value_range=(0, 1)),
            **masked,
            **cache_spec("past", count, shape),
            **cache_spec("encoded", count, (*shape[:2], self.source(), shape[3])),
        }

    def get_output_names(self) -> list[str]:  # type: ignore[override]  # one for each layer of the instance
        """Names of the outputs, in order."""
        return ["logits", *cache_names("present", len(self.layers))]
