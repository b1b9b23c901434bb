"""DETR with a ResNet-50 for COCO, in transformers' implementation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from transformers import DetrConfig, DetrForObjectDetection

from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.frozen_norm import thaw
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD, Normalize
from model_zoo.models._shared.object_detection.model import (
    COCO_IDS,
    Detections,
    ObjectDetector,
    best_class,
    corners,
    picture_spec,
    used_classes,
)
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded, varied_pictures


def _settings_of(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How many classes a checkpoint has; one more is for "nothing here"."""
    weight = state.get("class_labels_classifier.weight")
    return {} if weight is None or len(weight) < 2 else {"num_labels": len(weight) - 1}


HUB = HubNetwork(
    "detr_resnet50",
    DetrForObjectDetection,
    DetrConfig,
    {
        "num_labels": COCO_IDS,
        "num_queries": 100,
        "d_model": 256,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_ffn_dim": 2048,
        "decoder_ffn_dim": 2048,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
        # timm's backbone has no attention, and warns where it is told how to do it.
        "attn_implementation": {"": "eager", "backbone_config": "sdpa"},
    },
    published="facebook/detr-resnet-50",
    settings_of=_settings_of,
)


class Model(ObjectDetector):
    """DETR: End-to-End Object Detection with Transformers, https://arxiv.org/abs/2005.12872.

    Args:
        network: transformers'; its parts are called without the mask of padding, which there is none of.
    """

    def __init__(self, network: DetrForObjectDetection) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the published checkpoint, or your own with any number of classes.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
        """
        network, path = HUB.load(weights)
        thaw(network)
        model = cls(network).eval()
        if path is None:
            with seeded():
                network.model.query_position_embeddings.weight.data.normal_()
                # Spread as a trained head's logits are: all but equal ones would score each class 1 %.
                network.class_labels_classifier.weight.data.normal_(std=0.1)
                estimate_batch_norm(model, varied_pictures(4, 128))
        return model

    @staticmethod
    def reduced() -> AbstractContextManager[None]:
        """Two layers on each side inside the block, for tests."""
        return HUB.reduced()

    @property
    def num_classes(self) -> int:
        """How many classes the scores are of."""
        classes = self.network.config.num_labels
        return 80 if classes == COCO_IDS else classes

    def forward(self, image: torch.Tensor) -> Detections:
        """Find candidates; DETR was trained so that none overlap.

        Args:
            image: RGB [B, 3, H, W] in 0..1, letterboxed.

        Returns:
            boxes [B, 100, 4] as x1, y1, x2, y2 in pixels of the input, scores [B, 100] in 0..1, and class_idx
            [B, 100] int32.
        """
        inner = self.network.model
        features = inner.backbone.model(self.normalize(image))[-1]
        tokens = inner.input_projection(features).flatten(2).transpose(1, 2)
        places = inner.position_embedding(features.shape, features.device, features.dtype).flatten(2).transpose(1, 2)
        memory = inner.encoder(inputs_embeds=tokens, spatial_position_embeddings=places).last_hidden_state
        queries = inner.query_position_embeddings.weight.repeat(len(image), 1, 1)
        decoded = inner.decoder(
            inputs_embeds=torch.zeros_like(queries),
            object_queries_position_embeddings=queries,
            spatial_position_embeddings=places,
            encoder_hidden_states=memory,
        ).last_hidden_state
        scores = self.network.class_labels_classifier(decoded).softmax(2)
        classes = used_classes(scores) if scores.shape[2] == COCO_IDS + 1 else scores[..., :-1]
        height, width = image.shape[2:]
        boxes = corners(self.network.bbox_predictor(decoded).sigmoid())
        return boxes * torch.tensor([width, height, width, height]), *best_class(classes)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 480, width: int = 480) -> InputSpec:
        """One picture. Published figures are for a shorter side of 800 pixels.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 32.
            width: Width of the picture in pixels, a multiple of 32.
        """
        return picture_spec(batch_size, height, width)
