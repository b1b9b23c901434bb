"""XLSR, a network of 28 thousand parameters that enlarges pictures four times."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from torch import nn

from model_zoo.base.weights import resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.reference import REFERENCE, reference_files
from model_zoo.models._shared.super_resolution.model import SuperResolutionModel

FOLDER = Path(__file__).resolve().parent


class Model(SuperResolutionModel):
    """Ayazoglu, Extremely Lightweight Quantization Robust Real-Time Single-Image Super Resolution for Mobile Devices,
    CVPR workshops 2021. Layers and names are those of the checkpoints of Qualcomm's AIMET model zoo.
    """

    def __init__(self) -> None:
        super().__init__()
        self.residual = nn.Conv2d(3, 16, 3, padding=1)
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 1), *(GBlock(32) for _ in range(3))
        )
        self.tail = nn.Sequential(nn.Conv2d(48, 32, 1), nn.ReLU(), nn.Conv2d(32, 48, 3, padding=1))
        self.depth_to_space = nn.PixelShuffle(4)
        self.clipped_relu = nn.Hardtanh(0, 1)

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the weights that come with the package, or others.

        Args:
            weights: DEFAULT or `reference` (both: in the package, trained by train.py), the path of a checkpoint, or
                `random`.
        """
        path = resolve_weights(weights, "xlsr", reference_files(FOLDER), REFERENCE)
        with seeded():
            model = cls()
        if path is not None:
            load_strict(model, read_state_dict(path), str(path))
        return model.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Enlarge pictures.

        Args:
            image: RGB [B, 3, H, W] in 0..1.

        Returns:
            RGB [B, 3, 4 H, 4 W] in 0..1.
        """
        features = torch.cat([self.cnn(image), self.residual(image)], dim=1)
        return self.clipped_relu(self.depth_to_space(self.tail(features)))


class GBlock(nn.Module):
    """A grouped convolution, and one of 1 x 1 that mixes the groups."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=4), nn.ReLU(), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [B, channels, H, W] in and out."""
        return self.net(features)
