"""BERT base (uncased), as transformers builds it."""

from __future__ import annotations

from transformers import BertConfig, BertForMaskedLM

from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.text.model import TextModel


class Model(TextModel):
    """The network of https://arxiv.org/abs/1810.04805."""

    hub = HubNetwork(
        "bert_base_uncased_hf",
        BertForMaskedLM,
        BertConfig,
        {
            "vocab_size": 30522,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 512,
        },
        published="google-bert/bert-base-uncased",
        other_tasks=("bert.pooler.", "cls.seq_relationship."),
    )
