"""VideoMAE for Kinetics-400, in transformers' implementation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD, Normalize
from model_zoo.models._shared.video_classifier.model import VideoClassifier, clip_spec

#: What the position embeddings were made for.
FRAMES, SIZE = 16, 224


def _settings_of(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How many classes a checkpoint has."""
    weight = state.get("classifier.weight")
    return {} if weight is None or not len(weight) else {"num_labels": len(weight)}


HUB = HubNetwork(
    "video_mae",
    VideoMAEForVideoClassification,
    VideoMAEConfig,
    {
        "num_labels": 400,
        "image_size": SIZE,
        "num_frames": FRAMES,
        "patch_size": 16,
        "tubelet_size": 2,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "use_mean_pooling": True,
    },
    published="MCG-NJU/videomae-base-finetuned-kinetics",
    settings_of=_settings_of,
)


class Model(VideoClassifier):
    """VideoMAE, masked autoencoders for Video Pre-Training, https://arxiv.org/abs/2203.12602.

    Args:
        network: transformers', which takes the frames before the channels.
    """

    def __init__(self, network: VideoMAEForVideoClassification) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD, axes=3)
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the published checkpoint, or your own with any number of classes.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
        """
        return cls(HUB.load(weights)[0]).eval()

    @staticmethod
    def reduced() -> AbstractContextManager[None]:
        """Two layers inside the block, for tests."""
        return HUB.reduced()

    @property
    def num_classes(self) -> int:
        """How many classes there are: 400, or what the user's checkpoint has."""
        return self.network.config.num_labels

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """Classify clips.

        Args:
            video: RGB [B, 3, 16, 224, 224] in 0..1.

        Returns:
            Logits [B, classes].
        """
        return self.network(self.normalize(video).transpose(1, 2)).logits

    @staticmethod
    def get_input_spec(batch_size: int = 1) -> InputSpec:
        """One clip of 16 frames of 224 x 224, as the position embeddings have it.

        Args:
            batch_size: Clips in one call.
        """
        return {"video": clip_spec(batch_size, FRAMES, SIZE, SIZE)}
