"""SuperPoint: our own implementation of the published architecture, which takes the official checkpoint."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec
from model_zoo.base.weights import WeightsFile, resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared.object_detection.model import picture_spec
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models.superpoint.network import CELL, Network

#: The authors publish no checksum: the file is taken where a user puts it, but never downloaded.
WEIGHTS = {
    "superpoint_v1": WeightsFile(
        "https://github.com/magicleap/SuperPointPretrainedNetwork/raw/master/superpoint_v1.pth",
        None,
        "superpoint_v1.pth",
    )
}


class Model(BaseModel):
    """SuperPoint: Self-Supervised Interest Point Detection and Description, https://arxiv.org/abs/1712.07629.

    Args:
        network: Takes grey pictures in 0..1.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        grey = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
        self.register_buffer("grey", grey, persistent=False)

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the official checkpoint or your own.

        Args:
            weights: DEFAULT, superpoint_v1, the path of a checkpoint with the official names, or `random`.
        """
        path = resolve_weights(weights, "superpoint", WEIGHTS, "superpoint_v1")
        if path is None:
            with seeded():
                return cls(Network().load_random()).eval()
        network = Network()
        state = {name.removeprefix("network."): tensor for name, tensor in read_state_dict(path).items()}
        load_strict(network, state, str(path))
        return cls(network).eval()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find points that can be found again from elsewhere; an app drops the weak and the neighbours of better ones.

        Args:
            image: RGB [B, 3, H, W] in 0..1; H and W multiples of 8.

        Returns:
            heatmap [B, 1, H, W]: how probable it is that a pixel is a point of interest, and descriptors
            [B, 256, H / 8, W / 8] of length 1 for each cell of 8 x 8 pixels.
        """
        logits, descriptors = self.network((image * self.grey).sum(1, keepdim=True))
        heatmap = nn.functional.pixel_shuffle(logits.softmax(1)[:, :-1], CELL)
        return heatmap, nn.functional.normalize(descriptors, dim=1)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 480, width: int = 640) -> InputSpec:
        """One picture.

        Args:
            batch_size: Pictures in one call.
            height: Height of the picture in pixels, a multiple of 8.
            width: Width of the picture in pixels, a multiple of 8.
        """
        return picture_spec(batch_size, height, width, CELL)

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["heatmap", "descriptors"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    @staticmethod
    def get_channel_last_outputs() -> list[str]:
        """What the NPU gives channel-last."""
        return ["heatmap", "descriptors"]

    @staticmethod
    def get_16bit_outputs() -> list[str]:
        """Points are taken from a probability of 0.015 on, which is four steps of 8 bits."""
        return ["heatmap"]
