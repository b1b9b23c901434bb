"""ELECTRA base discriminator, as transformers builds it."""

from __future__ import annotations

from transformers import ElectraConfig, ElectraForPreTraining

from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.text.model import TextModel


class Model(TextModel):
    """The network of https://arxiv.org/abs/2003.10555."""

    hub = HubNetwork(
        "electra_bert_base_discrim_google",
        ElectraForPreTraining,
        ElectraConfig,
        {
            "vocab_size": 30522,
            "embedding_size": 768,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 512,
        },
        published="google/electra-base-discriminator",
    )
    output = "scores"
