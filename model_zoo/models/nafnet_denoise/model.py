"""NAFNet, which takes the noise of phone cameras out of photographs; it has no activation function."""

from __future__ import annotations

import torch
from torch import nn

from model_zoo.base.weights import WeightsFile
from model_zoo.models._shared.restoration.model import RestorationModel

WIDTH, ENCODERS, MIDDLE, DECODERS = 32, (2, 2, 4, 8), 12, (2, 2, 2, 2)


class Model(RestorationModel):
    """Chen et al., Simple Baselines for Image Restoration, ECCV 2022.

    Layers and names are those of the published `NAFNet-SIDD-width32.pth`.
    """

    model_id = "nafnet_denoise"
    published = WeightsFile(None, None, "NAFNet-SIDD-width32.pth")  # lies on a file server without fixed links
    stride = 2 ** len(ENCODERS)

    def __init__(self) -> None:
        super().__init__()
        self.intro = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.ending = nn.Conv2d(WIDTH, 3, 3, padding=1)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.ups, self.decoders = nn.ModuleList(), nn.ModuleList()
        channels = WIDTH
        for count in ENCODERS:
            self.encoders.append(nn.Sequential(*(Block(channels) for _ in range(count))))
            self.downs.append(nn.Conv2d(channels, 2 * channels, 2, stride=2))
            channels *= 2
        self.middle_blks = nn.Sequential(*(Block(channels) for _ in range(MIDDLE)))
        for count in DECODERS:
            self.ups.append(nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2)))
            channels //= 2
            self.decoders.append(nn.Sequential(*(Block(channels) for _ in range(count))))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Clean pictures.

        Args:
            image: RGB [B, 3, H, W] in 0..1; height and width are multiples of 16.

        Returns:
            RGB [B, 3, H, W] in 0..1.
        """
        features = self.intro(image)
        skipped = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features)
            skipped.append(features)
            features = down(features)
        features = self.middle_blks(features)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            features = decoder(up(features) + skipped.pop())
        return (self.ending(features) + image).clamp(0, 1)


class Block(nn.Module):
    """Gates half of the channels by the other half, weighs them by their means, and mixes them again; twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [B, channels, H, W] in and out."""
        gated = _gate(self.conv2(self.conv1(self.norm1(features))))
        features = features + self.conv3(gated * self.sca(gated)) * self.beta
        return features + self.conv5(_gate(self.conv4(self.norm2(features)))) * self.gamma


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [B, channels, H, W] in and out."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _gate(features: torch.Tensor) -> torch.Tensor:
    """[B, 2 C, H, W] to [B, C, H, W]: one half times the other."""
    first, second = features.chunk(2, dim=1)
    return first * second
