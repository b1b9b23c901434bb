"""wav2vec 2.0 base, trained on 960 hours of English, as transformers builds it."""

from __future__ import annotations

from transformers import Wav2Vec2Config

from model_zoo.models._shared.ctc.model import CtcModel, build_plain, plain_weight
from model_zoo.models._shared.hub_network import HubNetwork


class Model(CtcModel):
    """The network of https://arxiv.org/abs/2006.11477."""

    hub = HubNetwork(
        "wav2vec2",
        build_plain,
        Wav2Vec2Config,
        {
            "vocab_size": 32,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "feat_extract_norm": "group",
            "do_stable_layer_norm": False,
            "conv_bias": False,
            "mask_time_prob": 0.0,
        },
        published="facebook/wav2vec2-base-960h",
        other_tasks=("wav2vec2.masked_spec_embed",),
        convert=plain_weight,
    )
