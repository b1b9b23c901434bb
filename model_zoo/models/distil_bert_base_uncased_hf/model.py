"""DistilBERT base (uncased), as transformers builds it."""

from __future__ import annotations

from transformers import DistilBertConfig, DistilBertForMaskedLM

from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.text.model import TextModel


class Model(TextModel):
    """The network of https://arxiv.org/abs/1910.01108."""

    hub = HubNetwork(
        "distil_bert_base_uncased_hf",
        DistilBertForMaskedLM,
        DistilBertConfig,
        {
            "vocab_size": 30522,
            "dim": 768,
            "n_layers": 6,
            "n_heads": 12,
            "hidden_dim": 3072,
            "max_position_embeddings": 512,
        },
        published="distilbert/distilbert-base-uncased",
    )
