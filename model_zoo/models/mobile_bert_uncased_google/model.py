"""MobileBERT (uncased), as transformers builds it."""

from __future__ import annotations

import torch
from transformers import MobileBertConfig, MobileBertForMaskedLM

from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.text.model import TextModel, additive


class Model(TextModel):
    """The network of https://arxiv.org/abs/2004.02984.

    Each token sees its two neighbours, so the last one sees the first of the padding, as it did in training.
    """

    hub = HubNetwork(
        "mobile_bert_uncased_google",
        MobileBertForMaskedLM,
        MobileBertConfig,
        {
            "vocab_size": 30522,
            "embedding_size": 128,
            "hidden_size": 512,
            "intra_bottleneck_size": 128,
            "num_hidden_layers": 24,
            "num_attention_heads": 4,
            "num_feedforward_networks": 4,
            "intermediate_size": 512,
            "max_position_embeddings": 512,
        },
        published="google/mobilebert-uncased",
        other_tasks=("mobilebert.pooler.", "cls.seq_relationship."),
    )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Guess words. transformers joins the two matrices of the head in every call; here each has its own product.

        Args:
            input_ids: int32 [B, T].
            attention_mask: int32 [B, T], 1 for text and 0 for padding.

        Returns:
            Scores of words [B, T, 30522].
        """
        mask = additive(attention_mask, self.network.dtype)
        hidden = self.network.mobilebert(input_ids=input_ids, attention_mask=mask, return_dict=False)[0]
        head = self.network.cls.predictions
        hidden, rest = head.transform(hidden).tensor_split([head.decoder.in_features], dim=-1)
        return head.decoder(hidden) + rest @ head.dense.weight
