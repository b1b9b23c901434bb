"""QuickSRNet, a plain stack of convolutions that enlarges pictures four times."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from model_zoo.base.weights import WeightsFile
from model_zoo.models._shared.published import PublishedModel
from model_zoo.models._shared.super_resolution.model import SuperResolutionModel

_RELEASE = "https://github.com/quic/aimet-model-zoo/releases/download/phase_2_january_artifacts"


def quicksrnet_file(size: str) -> WeightsFile:
    """The published checkpoint, of which nobody gives a checksum.

    Args:
        size: small, medium or large.
    """
    name = f"quicksrnet_{size}_4x_checkpoint_float32.pth.tar"
    return WeightsFile(f"{_RELEASE}/{name}", None, name)


class Anchor(nn.Module):
    """Repeats each of three channels for every pixel that it becomes, by a 1 x 1 convolution that can learn."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 48, 1)
        with torch.no_grad():
            self.net.weight.zero_()
            repeat_channels(self.net)
            if self.net.bias is not None:
                nn.init.zeros_(self.net.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] to [B, 48, H, W]."""
        repeated: torch.Tensor = self.net(image)
        return repeated


def repeat_channels(layer: nn.Conv2d) -> None:
    """Add what makes the layer repeat each of its first three inputs for every pixel that it becomes."""
    middle = layer.kernel_size[0] // 2
    for output in range(layer.out_channels):
        layer.weight.data[output, output * 3 // layer.out_channels, middle, middle] += 1


class QuickSRNet(PublishedModel, SuperResolutionModel):
    """Berger et al., QuickSRNet: Plain Single-Image Super-Resolution Architecture for Faster Inference on Mobile
    Platforms, CVPR workshops 2023. Layers and names are those of the checkpoints of Qualcomm's AIMET model zoo.

    Fresh weights are those of the paper: drawn, with a one where a layer passes its input on.
    """

    channels: ClassVar[int]
    #: Between the first and the last.
    layers: ClassVar[int]
    #: Whether the input is added to the output.
    anchored: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        body: list[nn.Module] = []
        for inputs in (3, *[self.channels] * self.layers):
            layer = nn.Conv2d(inputs, self.channels, 3, padding=1)
            layer.weight.data += nn.init.dirac_(torch.empty_like(layer.weight))
            body += [layer, nn.Hardtanh(0, 1)]
        self.cnn = nn.Sequential(*body)
        self.conv_last = nn.Conv2d(self.channels, 48, 3, padding=1)
        if self.anchored:
            self.anchor = Anchor()
        else:
            repeat_channels(self.conv_last)
        self.clip_output = nn.Hardtanh(0, 1)
        self.depth_to_space = nn.PixelShuffle(4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Enlarge pictures.

        Args:
            image: RGB [B, 3, H, W] in 0..1.

        Returns:
            RGB [B, 3, 4 H, 4 W] in 0..1.
        """
        pixels = self.conv_last(self.cnn(image))
        if self.anchored:
            pixels = pixels + self.anchor(image)
        enlarged: torch.Tensor = self.depth_to_space(self.clip_output(pixels))
        return enlarged
