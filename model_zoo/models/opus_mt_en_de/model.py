"""OPUS-MT from English to German, as transformers builds it."""

from __future__ import annotations

from typing import ClassVar

from transformers import MarianConfig, MarianMTModel

from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.hub_parts import HubCollection
from model_zoo.models._shared.marian.model import MarianDecoder, MarianEncoder
from model_zoo.models._shared.marian.tokenizer import marian_folder

_SIZES = {"layers": 6, "attention_heads": 8, "ffn_dim": 2048}
HUB = HubNetwork(
    "opus_mt_en_de",
    MarianMTModel,
    MarianConfig,
    {f"{part}_{name}": size for part in ("encoder", "decoder") for name, size in _SIZES.items()}
    | {"vocab_size": 58101, "d_model": 512, "max_position_embeddings": 512, "activation_function": "swish"}
    | {"scale_embedding": True, "pad_token_id": 58100, "eos_token_id": 0, "decoder_start_token_id": 58100},
    published="Helsinki-NLP/opus-mt-en-de",
    filename="pytorch_model.bin",
    computed=("embed_positions.weight",),
)


class Encoder(MarianEncoder):
    """6 layers of 512 units."""

    hub = HUB


class Decoder(MarianDecoder):
    """6 layers of 512 units."""

    hub = HUB


class Model(HubCollection):
    """The network of https://aclanthology.org/2020.eamt-1.61."""

    component_classes: ClassVar = {"encoder": Encoder, "decoder": Decoder}
    hub = HUB
    find_tokenizer = staticmethod(marian_folder)
