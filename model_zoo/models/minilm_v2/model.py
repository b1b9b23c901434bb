"""all-MiniLM-L6-v2, as sentence-transformers publishes it: the encoder, the mean over words, and length 1."""

from __future__ import annotations

from functools import partial

import torch
from transformers import BertConfig, BertModel

from model_zoo.evaluators.embedding import EmbeddingEvaluator
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.text.model import TextModel


class Model(TextModel):
    """MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression, https://arxiv.org/abs/2002.10957."""

    hub = HubNetwork(
        "minilm_v2",
        partial(BertModel, add_pooling_layer=False),
        BertConfig,
        {
            "vocab_size": 30522,
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
            "max_position_embeddings": 512,
        },
        published="sentence-transformers/all-MiniLM-L6-v2",
        other_tasks=("pooler.",),
    )
    output = "embedding"

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embed text: the mean over its words, of length 1; float32 [B, 384]. Arguments as in TextModel."""
        words = super().forward(input_ids, attention_mask)
        # The sum in place of the mean: scaling to length 1 makes them equal. Small enough for half precision.
        weight = attention_mask.to(words.dtype)[:, None, :] / attention_mask.shape[1]
        return torch.nn.functional.normalize((weight @ words)[:, 0], dim=-1)

    @staticmethod
    def eval_datasets() -> list[str]:
        """Pairs of sentences and how much they mean the same."""
        return ["stsb"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """A part that no score is taken on."""
        return "stsb"

    @classmethod
    def get_evaluator(cls) -> type[EmbeddingEvaluator]:
        """Rank correlation with what people said."""
        return EmbeddingEvaluator
