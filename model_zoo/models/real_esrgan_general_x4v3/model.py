"""Real-ESRGAN general x4v3, which enlarges photographs four times and clears them of noise and compression."""

from __future__ import annotations

import torch
from torch import nn

from model_zoo.base.weights import WeightsFile
from model_zoo.models._shared.published import PublishedModel
from model_zoo.models._shared.random_weights import randomize_convolutions
from model_zoo.models._shared.super_resolution.model import SuperResolutionModel

CHANNELS, LAYERS = 64, 32

#: What a fresh PReLU multiplies negative values with.
_SLOPE = 0.25


class Model(PublishedModel, SuperResolutionModel):
    """Wang et al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data, ICCV workshops
    2021.

    A plain stack of convolutions whose result is added to the repeated pixels. Names are those of the published
    `realesr-general-x4v3.pth`.
    """

    model_id = "real_esrgan_general_x4v3"
    published = WeightsFile(
        "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/realesr-general-x4v3.pth",
        None,
        "realesr-general-x4v3.pth",
    )

    def __init__(self) -> None:
        super().__init__()
        body: list[nn.Module] = []
        for inputs in (3, *[CHANNELS] * LAYERS):
            body += [nn.Conv2d(inputs, CHANNELS, 3, padding=1), nn.PReLU(CHANNELS, init=_SLOPE)]
        self.body = nn.Sequential(*body, nn.Conv2d(CHANNELS, 48, 3, padding=1))
        self.upsampler = nn.PixelShuffle(4)

    def randomize(self) -> None:
        """What is added to the repeated pixels is small, as it is after training."""
        randomize_convolutions(self, _SLOPE)
        self.body[-1].weight.data *= 0.1

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Enlarge pictures.

        Args:
            image: RGB [B, 3, H, W] in 0..1.

        Returns:
            RGB [B, 3, 4 H, 4 W] in 0..1.
        """
        repeated = nn.functional.interpolate(image, scale_factor=4, mode="nearest")
        return (self.upsampler(self.body(image)) + repeated).clamp(0, 1)
