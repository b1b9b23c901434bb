"""MobileBERT (uncased), as transformers builds it."""

from __future__ import annotations

from transformers import MobileBertConfig, MobileBertForMaskedLM

from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.text.model import TextModel


class Model(TextModel):
    """The network of https://arxiv.org/abs/2004.02984."""

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
