"""DnCNN, which takes noise out of photographs without being told how much there is."""

from __future__ import annotations

import torch
from torch import nn

from model_zoo.base.spec import InputSpec
from model_zoo.base.weights import WeightsFile
from model_zoo.models._shared.random_weights import randomize_convolutions
from model_zoo.models._shared.restoration.model import RestorationModel

CHANNELS, LAYERS = 64, 20


class Model(RestorationModel):
    """Zhang et al., Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising, IEEE TIP 2017.

    The blind model for colour pictures, whose batch normalisation its authors merged into the convolutions. Names are
    those of the published `dncnn_color_blind.pth`.
    """

    model_id = "dncnn"
    published = WeightsFile(
        "https://github.com/cszn/KAIR/releases/download/v1.0/dncnn_color_blind.pth", None, "dncnn_color_blind.pth"
    )

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (3, *[CHANNELS] * (LAYERS - 2)):
            layers += [nn.Conv2d(inputs, CHANNELS, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(CHANNELS, 3, 3, padding=1))

    @classmethod
    def get_input_spec(cls, batch_size: int = 1, height: int = 128, width: int = 128) -> InputSpec:
        """One tile: 128 x 128 is quick on the NPU emulator, and the network takes any size."""
        return super().get_input_spec(batch_size, height, width)

    def randomize(self) -> None:
        """What is taken for noise is small, as it is after training."""
        randomize_convolutions(self, slope=0)
        self.model[-1].weight.data *= 0.1

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Clean pictures.

        Args:
            image: RGB [B, 3, H, W] in 0..1.

        Returns:
            RGB [B, 3, H, W] in 0..1.
        """
        return (image - self.model(image)).clamp(0, 1)
