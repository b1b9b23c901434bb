"""CLIP ViT-B/16 in two parts: a picture and a text become vectors that point the same way where they fit."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from model_zoo.base.spec import InputSpec, IoType, TensorSpec, image_spec
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.hub_parts import HubCollection, HubPart
from model_zoo.models._shared.imagenet_classifier.model import Normalize
from model_zoo.models._shared.text.model import MASKED

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
#: Tokens of a text, as published.
TOKENS = 77
_LAYERS = {"num_hidden_layers": 12, "hidden_act": "quick_gelu"}
_TEXT = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048, "max_position_embeddings": TOKENS}
_VISION = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "image_size": 224}
HUB = HubNetwork(
    "openai_clip",
    CLIPModel,
    CLIPConfig,
    {
        "text_config": {**_LAYERS, **_TEXT, "vocab_size": 49408},
        "vision_config": {**_LAYERS, **_VISION, "patch_size": 16},
        "projection_dim": 512,
    },
    published="openai/clip-vit-base-patch16",
)


class ImageEncoder(HubPart):
    """A picture to a vector of length 1."""

    hub = HUB

    def take(self, network: nn.Module) -> None:
        self.normalize = Normalize(MEAN, STD)
        self.network, self.projection = network.vision_model, network.visual_projection

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode pictures, RGB [B, 3, 224, 224] in 0..1; gives [B, 512]."""
        features = self.network(self.normalize(image)).pooler_output
        return nn.functional.normalize(self.projection(features), dim=-1)

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
    """A text to a vector of length 1."""

    hub = HUB

    def take(self, network: nn.Module) -> None:
        self.network, self.projection = network.text_model, network.text_projection
        self.register_buffer("causal", torch.full((1, 1, TOKENS, TOKENS), MASKED).triu(1), persistent=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Encode texts, int32 [B, 77] each; gives [B, 512].

        A token sees those before it, so padding counts for nothing. The last token that is none stands for the text.
        """
        words = self.network.embeddings(input_ids=input_ids)
        seen = self.network.encoder(inputs_embeds=words, attention_mask=self.causal).last_hidden_state
        last = torch.cat([attention_mask[:, :-1] - attention_mask[:, 1:], attention_mask[:, -1:]], dim=1)
        text = (last.to(seen.dtype)[:, None] @ self.network.final_layer_norm(seen))[:, 0]
        return nn.functional.normalize(self.projection(text), dim=-1)

    @classmethod
    def get_input_spec(cls) -> InputSpec:
        """One text."""
        most = cls.hub.settings["text_config"]["vocab_size"] - 1
        return {
            "input_ids": TensorSpec((1, TOKENS), "int32", IoType.TOKEN_IDS, (0, most)),
            "attention_mask": TensorSpec((1, TOKENS), "int32", value_range=(0, 1)),
        }

    @staticmethod
    def get_output_names() -> list[str]:
        return ["text_embedding"]


class Model(HubCollection):
    """The network of https://arxiv.org/abs/2103.00020."""

    component_classes: ClassVar = {"image_encoder": ImageEncoder, "text_encoder": TextEncoder}
    hub = HUB
