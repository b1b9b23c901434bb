"""SegFormer-B0, as transformers has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD, Normalize
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded, varied_pictures
from model_zoo.models._shared.segmentation.labels import ade20k_labels
from model_zoo.models._shared.segmentation.model import SegmentationModel
from model_zoo.utils.errors import UserError

#: Attention puts 8 x 8 of the first features together, which are a fourth of the picture's size.
MIN_SIZE = 32


def _settings_of(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How many classes a checkpoint has."""
    bias = state.get("decode_head.classifier.bias")
    return {} if bias is None or not len(bias) else {"num_labels": len(bias)}


#: The other hyperparameters are transformers' defaults.
HUB = HubNetwork(
    "segformer_base",
    SegformerForSemanticSegmentation,
    SegformerConfig,
    {"num_labels": len(ade20k_labels())},
    published="nvidia/segformer-b0-finetuned-ade-512-512",
    settings_of=_settings_of,
)


class Model(SegmentationModel):
    """SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers,
    https://arxiv.org/abs/2105.15203.

    Args:
        network: transformers', which gives logits at a fourth of the resolution.
    """

    def __init__(self, network: SegformerForSemanticSegmentation) -> None:
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
        model = cls(network).eval()
        if path is None:
            with seeded():
                estimate_batch_norm(model, varied_pictures(4, 128))
        return model

    @property
    def num_classes(self) -> int:
        """How many classes there are: 150, or what the user's checkpoint has."""
        return self.network.config.num_labels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Tell the class of each pixel.

        Args:
            image: RGB [B, 3, H, W] in 0..1; height and width are multiples of 16.

        Returns:
            Logits [B, classes, H, W].
        """
        logits = self.network(self.normalize(image)).logits
        return nn.functional.interpolate(logits, image.shape[2:], mode="bilinear")

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 512, width: int = 512) -> InputSpec:
        """One picture, by default of the size the weights were trained for.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 16, at least 32.
            width: Width of the picture in pixels, a multiple of 16, at least 32.
        """
        if min(height, width) < MIN_SIZE:
            raise UserError(f"height {height}, width {width}: the network needs at least {MIN_SIZE} pixels each")
        return SegmentationModel.get_input_spec(batch_size, height, width)

    def labels(self) -> list[str] | None:
        """The names of ADE20K; None for a user's own classes."""
        names = ade20k_labels()
        return names if self.num_classes == len(names) else None

    @staticmethod
    def calibration_dataset_name() -> str:
        """The training pictures of Pascal VOC 2012: the zoo reads no ADE20K, and ranges need no classes."""
        return "voc"
