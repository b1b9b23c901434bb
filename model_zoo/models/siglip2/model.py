"""SigLIP 2 ViT-B/16 in two parts: a picture and a text become vectors that point the same way where they fit."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from transformers import SiglipConfig, SiglipModel

from model_zoo.base.spec import InputSpec, IoType, TensorSpec, image_spec
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.hub_parts import HubCollection, HubPart

#: Tokens of a text, as published.
TOKENS = 64
_SIZES = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
# At a fixed size SigLIP 2 is the network of SigLIP, with other weights and the vocabulary of Gemma.
HUB = HubNetwork(
    "siglip2",
    SiglipModel,
    SiglipConfig,
    {
        "text_config": {**_SIZES, "vocab_size": 256000, "max_position_embeddings": TOKENS, "pad_token_id": 0},
        "vision_config": {**_SIZES, "image_size": 224, "patch_size": 16},
    },
    published="google/siglip2-base-patch16-224",
)


class ImageEncoder(HubPart):
    """A picture to a vector of length 1."""

    hub = HUB

    def take(self, network: nn.Module) -> None:
        self.network = network.vision_model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode pictures, RGB [B, 3, 224, 224] in 0..1; gives [B, 768]."""
        return nn.functional.normalize(self.network(image * 2 - 1).pooler_output, dim=-1)

    @staticmethod
    def get_input_spec() -> InputSpec:
        """One picture."""
        return {"image": image_spec(224, 224)}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["image_embedding"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        return ["image"]


class TextEncoder(HubPart):
    """A text to a vector of length 1.

    `scale` and `bias` turn the product of two vectors into the logit that they belong together.
    """

    hub = HUB

    def take(self, network: nn.Module) -> None:
        self.network = network.text_model
        self.scale, self.bias = network.logit_scale.exp().item(), network.logit_bias.item()

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Encode texts, int32 [B, 64]; gives [B, 768]. Padding counts: the network was trained to read it."""
        return nn.functional.normalize(self.network(input_ids=input_ids).pooler_output, dim=-1)

    @classmethod
    def get_input_spec(cls) -> InputSpec:
        """One text."""
        most = cls.hub.settings["text_config"]["vocab_size"] - 1
        return {"input_ids": TensorSpec((1, TOKENS), "int32", IoType.TOKEN_IDS, (0, most))}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["text_embedding"]


class Model(HubCollection):
    """The network of https://arxiv.org/abs/2502.14786."""

    component_classes: ClassVar = {"image_encoder": ImageEncoder, "text_encoder": TextEncoder}
    hub = HUB
