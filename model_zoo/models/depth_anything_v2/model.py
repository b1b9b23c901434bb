"""Depth Anything V2 small, as transformers has it."""

from __future__ import annotations

from typing import Self

import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.models._shared.depth.model import DepthModel
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD, Normalize
from model_zoo.models._shared.random_weights import randomize_convolutions, seeded

_PATCH = 14

#: The other hyperparameters are transformers' defaults.
HUB = HubNetwork(
    "depth_anything_v2",
    DepthAnythingForDepthEstimation,
    DepthAnythingConfig,
    {
        "backbone_config": {
            "model_type": "dinov2",
            "image_size": 518,
            "patch_size": _PATCH,
            "hidden_size": 384,
            "num_attention_heads": 6,
            "out_indices": [3, 6, 9, 12],
            "apply_layernorm": True,
            "reshape_hidden_states": False,
        }
    },
    published="depth-anything/Depth-Anything-V2-Small-hf",
)


class Model(DepthModel):
    """Depth Anything V2, https://arxiv.org/abs/2406.09414.

    Args:
        network: transformers', which takes normalised RGB and gives inverse depth.
    """

    def __init__(self, network: DepthAnythingForDepthEstimation) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the published checkpoint or your own.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
        """
        network, path = HUB.load(weights)
        if path is None:
            with seeded():
                draw_decoder(network)
        return cls(network).eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Tell how near each pixel is.

        Args:
            image: RGB [B, 3, H, W] in 0..1; height and width are multiples of 14.

        Returns:
            Inverse depth [B, 1, H, W], not negative; scale and shift are unknown.
        """
        return self.network(self.normalize(image)).predicted_depth[:, None]

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 518, width: int = 518) -> InputSpec:
        """One picture, by default of the size the weights were trained for.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 14.
            width: Width of the picture in pixels, a multiple of 14.
        """
        return {"image": image_spec(height, width, batch_size, multiple_of=_PATCH)}


def draw_decoder(network: DepthAnythingForDepthEstimation) -> None:
    """Draw a decoder that keeps activations alive, and whose last rectifier lets something through."""
    for part in (network.neck, network.head):
        randomize_convolutions(part, slope=0)
    torch.nn.init.ones_(network.head.conv3.bias)
