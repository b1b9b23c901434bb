"""The building blocks of YOLOX. Their parameters are named as in the official checkpoints."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

#: Makes a convolution with normalisation and activation of (inputs, outputs, kernel, stride).
MakeConv = Callable[..., nn.Module]


class Conv(nn.Module):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)  # of the official training
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        return self.act(self.bn(self.conv(x)))


class DepthwiseConv(nn.Module):
    """A convolution of each channel, then one over all channels of each pixel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.dconv = Conv(inputs, inputs, kernel, stride, groups=inputs)
        self.pconv = Conv(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        return self.pconv(self.dconv(x))


class Focus(nn.Module):
    """Four neighbouring pixels become channels of one, which halves the picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(4 * inputs, outputs, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H / 2, W / 2]."""
        rows = (x[..., ::2, :], x[..., 1::2, :])
        return self.conv(torch.cat([row[..., first::2] for first in (0, 1) for row in rows], 1))


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, with the input added where `shortcut` says so."""

    def __init__(self, channels: int, shortcut: bool, conv: MakeConv) -> None:
        super().__init__()
        self.conv1, self.conv2, self.shortcut = Conv(channels, channels), conv(channels, channels, 3), shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] to the same."""
        y = self.conv2(self.conv1(x))
        return y + x if self.shortcut else y


class CrossStage(nn.Module):
    """Half of the channels go through bottlenecks, half past them (cross stage partial)."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool, conv: MakeConv) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1, self.conv2, self.conv3 = Conv(inputs, half), Conv(inputs, half), Conv(2 * half, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut, conv) for _ in range(depth)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], 1))


class Pyramid(nn.Module):
    """Pooling over windows of 5, 9 and 13, side by side (spatial pyramid)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(inputs, inputs // 2), Conv(2 * inputs, outputs)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        pooled = [self.conv1(x)]
        for _ in range(3):  # pooling again by 5 widens a window by 4
            pooled.append(self.pool(pooled[-1]))
        return self.conv2(torch.cat(pooled, 1))


class Head(nn.Module):
    """For each of three levels two branches: one gives class scores, the other boxes and objectness."""

    def __init__(self, channels: tuple[int, ...], width: int, num_classes: int, conv: MakeConv) -> None:
        super().__init__()

        def branches() -> nn.ModuleList:
            return nn.ModuleList(nn.Sequential(conv(width, width, 3), conv(width, width, 3)) for _ in channels)

        def predictions(outputs: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(width, outputs, 1) for _ in channels)

        self.stems = nn.ModuleList(Conv(inputs, width) for inputs in channels)
        self.cls_convs, self.reg_convs = branches(), branches()
        self.cls_preds, self.reg_preds, self.obj_preds = predictions(num_classes), predictions(4), predictions(1)

    def forward(self, maps: tuple[torch.Tensor, ...]) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """For each level [B, channels, H, W]: boxes [B, 4, H, W], objectness [B, 1, H, W] and classes [B, C, H, W]."""
        found = []
        for level, features in enumerate(maps):
            stem = self.stems[level](features)
            kinds, places = self.cls_convs[level](stem), self.reg_convs[level](stem)
            found.append((self.reg_preds[level](places), self.obj_preds[level](places), self.cls_preds[level](kinds)))
        return found
