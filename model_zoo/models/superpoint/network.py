"""The network of SuperPoint (arXiv:1712.07629). Its parameters are named as in the official checkpoint."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

#: Pixels between neighbouring cells of the last feature map: each cell tells which of its 8 x 8 pixels is a point.
CELL = 8


class Network(nn.Module):
    """A VGG encoder with two heads: where points are, and what they look like."""

    def __init__(self) -> None:
        super().__init__()
        channels = (1, 64, 64, 128, 128)
        for stage, (inputs, outputs) in enumerate(pairwise(channels), 1):
            setattr(self, f"conv{stage}a", nn.Conv2d(inputs, outputs, 3, padding=1))
            setattr(self, f"conv{stage}b", nn.Conv2d(outputs, outputs, 3, padding=1))
        self.convPa, self.convPb = nn.Conv2d(128, 256, 3, padding=1), nn.Conv2d(256, CELL * CELL + 1, 1)
        self.convDa, self.convDb = nn.Conv2d(128, 256, 3, padding=1), nn.Conv2d(256, 256, 1)

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Score every pixel and describe every cell.

        Args:
            grey: [B, 1, H, W] in 0..1; H and W multiples of 8.

        Returns:
            logits [B, 65, H / 8, W / 8], of the pixels of each cell row by row and of "no point here", and descriptors
            [B, 256, H / 8, W / 8], not yet normalised.
        """
        x = grey
        for stage in range(1, 5):
            x = getattr(self, f"conv{stage}a")(x).relu()
            x = getattr(self, f"conv{stage}b")(x).relu()
            if stage < 4:
                x = nn.functional.max_pool2d(x, 2)
        return self.convPb(self.convPa(x).relu()), self.convDb(self.convDa(x).relu())

    def load_random(self) -> Network:
        """Draw weights that keep activations as large as they are from layer to layer."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        return self
