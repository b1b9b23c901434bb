"""ALBERT base v2, as transformers builds it."""

from __future__ import annotations

from transformers import AlbertConfig, AlbertForMaskedLM

from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.text.model import TextModel


class Model(TextModel):
    """The network of https://arxiv.org/abs/1909.11942."""

    hub = HubNetwork(
        "albert_base_v2_hf",
        AlbertForMaskedLM,
        AlbertConfig,
        {
            "vocab_size": 30000,
            "embedding_size": 128,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "hidden_act": "gelu_new",
            "max_position_embeddings": 512,
        },
        published="albert/albert-base-v2",
        other_tasks=("albert.pooler.", "sop_classifier."),
    )
