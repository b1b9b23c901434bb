"""Marian, a translator of short sentences, in two parts: encoder, and one token of the translation after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from model_zoo.base.spec import InputSpec, IoType, TensorSpec
from model_zoo.models._shared.seq2seq.model import Seq2SeqDecoder, Seq2SeqEncoder
from model_zoo.models._shared.text.model import additive

#: Tokens of a sentence and of its translation.
TOKENS = 128


class MarianEncoder(Seq2SeqEncoder):
    """Reads a sentence."""

    network: Any

    def take(self, network: Any) -> None:
        self.network = network.model.encoder
        self.project_for(network.model.decoder.layers)

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = additive(attention_mask, self.network.dtype)
        features: torch.Tensor = self.network(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return features

    @classmethod
    def get_input_spec(cls) -> InputSpec:
        """One sentence."""
        return {
            "input_ids": TensorSpec((1, TOKENS), "int32", IoType.TOKEN_IDS, (0, cls.hub.settings["vocab_size"] - 1)),
            "attention_mask": TensorSpec((1, TOKENS), "int32", value_range=(0, 1)),
        }


class MarianDecoder(Seq2SeqDecoder):
    """Writes the translation, a token at a time."""

    masked = True
    past = TOKENS - 1
    network: Any
    head: Any
    bias: torch.Tensor

    def take(self, network: Any) -> None:
        self.network = network.model.decoder
        self.layers = self.network.layers
        self.head = network.lm_head
        self.register_buffer("bias", network.final_logits_bias, persistent=False)

    @classmethod
    def vocabulary(cls) -> int:
        return int(cls.hub.settings["vocab_size"])

    @classmethod
    def source(cls) -> int:
        return TOKENS

    def embed(self, input_ids: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        positions = nn.functional.embedding(position, self.network.embed_positions.weight)
        embedded: torch.Tensor = self.network.embed_tokens(input_ids) * self.network.embed_scale + positions
        return embedded

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(hidden) + self.bias
        return scores
