"""TrOCR small for printed text, as transformers builds it: one line of text in a picture, read a token at a time."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from transformers import VisionEncoderDecoderConfig, VisionEncoderDecoderModel

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.hub_parts import HubCollection
from model_zoo.models._shared.imagenet_classifier.model import Normalize
from model_zoo.models._shared.seq2seq.model import Seq2SeqDecoder, Seq2SeqEncoder

#: Height and width of a picture, whatever the proportions of the line were, and its features: patches and two marks.
SIZE, FEATURES = 384, 24 * 24 + 2
#: Of one line.
TOKENS = 64
_VISION = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
_TEXT = {"d_model": 256, "decoder_layers": 6, "decoder_attention_heads": 8, "decoder_ffn_dim": 1024}


def build(config: VisionEncoderDecoderConfig) -> VisionEncoderDecoderModel:
    """The network without the layer that makes one vector of a picture: it was never trained, and nothing uses it."""
    network = VisionEncoderDecoderModel(config)
    network.encoder.pooler = None
    return network


HUB = HubNetwork(
    "trocr",
    build,
    VisionEncoderDecoderConfig,
    {
        "encoder": {"model_type": "deit", "image_size": SIZE, **_VISION},
        "decoder": {"model_type": "trocr", "vocab_size": 64044, **_TEXT}
        | {"cross_attention_hidden_size": 384, "activation_function": "relu", "scale_embedding": True}
        | {"tie_word_embeddings": False, "is_decoder": True, "add_cross_attention": True},
        "tie_word_embeddings": False,
    },
    published="microsoft/trocr-small-printed",
    other_tasks=("encoder.pooler.",),
)


class TextImageEncoder(Seq2SeqEncoder):
    """Looks at a line of text with 12 layers of 384 units."""

    hub = HUB

    def take(self, network: nn.Module) -> None:
        self.normalize = Normalize((0.5,) * 3, (0.5,) * 3)
        self.network = network.encoder
        self.project_for(network.decoder.model.decoder.layers)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(self.normalize(image)).last_hidden_state

    @staticmethod
    def get_input_spec() -> InputSpec:
        """A picture of one line."""
        return {"image": image_spec(SIZE, SIZE)}

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        return ["image"]


class TextDecoder(Seq2SeqDecoder):
    """Writes what is there, a token at a time, with 6 layers of 256 units."""

    hub = HUB
    past = TOKENS - 1

    def take(self, network: nn.Module) -> None:
        self.network = network.decoder.model.decoder
        self.layers = self.network.layers
        self.head = network.decoder.output_projection

    @classmethod
    def vocabulary(cls) -> int:
        return cls.hub.settings["decoder"]["vocab_size"]

    @classmethod
    def source(cls) -> int:
        return FEATURES

    def embed(self, input_ids: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        places = self.network.embed_positions
        place = nn.functional.embedding(position, places.weight[places.offset :])
        return self.network.layernorm_embedding(self.network.embed_tokens(input_ids) + place)

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.head(hidden)


class Model(HubCollection):
    """The network of https://arxiv.org/abs/2109.10282."""

    component_classes: ClassVar = {"encoder": TextImageEncoder, "decoder": TextDecoder}
    hub = HUB
