"""ViTPose with its simple decoder, in transformers' implementation; heatmaps are decoded in the model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from transformers import VitPoseConfig, VitPoseForPoseEstimation

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.evaluators.keypoints import POINTS, KeypointEvaluator
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD, Normalize
from model_zoo.models._shared.pose.decode import keypoints_of

#: What the position embeddings were made for.
HEIGHT, WIDTH = 256, 192


def _settings_of(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How wide and how deep the backbone of a checkpoint is; heads are 64 wide."""
    places = state.get("backbone.embeddings.position_embeddings")
    if places is None or places.ndim != 3 or places.shape[2] < 64:
        return {}
    layers = {name.split(".")[3] for name in state if name.startswith("backbone.encoder.layer.")}
    return {"backbone_config": _backbone(places.shape[2], len(layers))}


def _backbone(width: int, layers: int) -> dict[str, Any]:
    return {
        "model_type": "vitpose_backbone",
        "image_size": [HEIGHT, WIDTH],
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "out_indices": [-1],
    }


HUB = HubNetwork(
    "vitpose",
    VitPoseForPoseEstimation,
    VitPoseConfig,
    {"backbone_config": _backbone(768, 12), "num_labels": POINTS, "scale_factor": 4, "use_simple_decoder": True},
    published="usyd-community/vitpose-base-simple",
    settings_of=_settings_of,
)


class Model(BaseModel):
    """ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation, https://arxiv.org/abs/2204.12484.

    Args:
        network: transformers', which gives heatmaps.
    """

    def __init__(self, network: VitPoseForPoseEstimation) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the published checkpoint, or your own of any width.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
        """
        return cls(HUB.load(weights)[0]).eval()

    @staticmethod
    def reduced() -> AbstractContextManager[None]:
        """Two layers inside the block, for tests."""
        return HUB.reduced()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the joints of the person in the middle.

        Args:
            image: RGB [B, 3, 256, 192] in 0..1.

        Returns:
            keypoints [B, 17, 2] as x, y in pixels of the input, in COCO's order, and scores [B, 17], about 0..1.
        """
        return keypoints_of(self.network(self.normalize(image)).heatmaps, HEIGHT, WIDTH)

    @staticmethod
    def get_input_spec(batch_size: int = 1) -> InputSpec:
        """One person, 256 x 192, as the position embeddings have it.

        Args:
            batch_size: Persons in one call.
        """
        return {"image": image_spec(HEIGHT, WIDTH, batch_size)}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["keypoints", "scores"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    @classmethod
    def get_16bit_outputs(cls) -> list[str]:
        """In 8 bits places move in whole pixels, and many cells of a heatmap are equal."""
        return cls.get_output_names()

    @staticmethod
    def eval_datasets() -> list[str]:
        """Persons of COCO's validation pictures."""
        return ["coco_keypoints"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """A part of the same pictures."""
        return "coco_keypoints"

    @classmethod
    def get_evaluator(cls) -> type[KeypointEvaluator]:
        """AP over OKS."""
        return KeypointEvaluator
