"""The building blocks of YOLOv7. Their parameters are named as in the official checkpoints.

Each block exists in the form it was trained in and in the folded form that runs: `fold` turns one into the other.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model_zoo.models.yolov7.layout import Anchors

#: Of every batch normalisation in the official networks; a state dict does not tell.
BATCH_NORM_EPS = 1e-3

#: Centres [B, A, 2, cells] and half sizes [B, A, 2, cells] in pixels as (x, y), and probabilities
#: [B, A, 1 + classes, cells] of an object and of each class, for A anchors and H * W cells.
Level = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

#: Pixels between neighbouring cells of the three levels.
STRIDES = (8, 16, 32)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution for both, rounded once."""
    return fuse_conv_bn_eval(conv.double(), norm.double()).float()


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)


class Conv(nn.Module):
    """Convolution, batch normalisation, activation.

    Args:
        folded: The normalisation is part of the convolution already.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, activation: nn.Module, folded: bool = False
    ) -> None:
        super().__init__()
        self.conv = _conv(inputs, outputs, kernel, stride, bias=folded)
        self.bn = nn.Identity() if folded else _batch_norm(outputs)
        self.act = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        return self.act(self.bn(self.conv(x)))

    def fold(self) -> None:
        """Make the normalisation part of the convolution."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = _folded(self.conv, self.bn), nn.Identity()


class RepConv(nn.Module):
    """A 3x3 convolution that was trained as the sum of a 3x3 and a 1x1 one (arXiv:2101.03697).

    Args:
        folded: There is one convolution already.
    """

    def __init__(self, inputs: int, outputs: int, activation: nn.Module, folded: bool = False) -> None:
        super().__init__()
        self.rbr_reparam = _conv(inputs, outputs, 3, bias=True) if folded else None
        self.rbr_dense = None if folded else nn.Sequential(_conv(inputs, outputs, 3), _batch_norm(outputs))
        self.rbr_1x1 = None if folded else nn.Sequential(_conv(inputs, outputs, 1), _batch_norm(outputs))
        self.act = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return self.act(self.rbr_dense(x) + self.rbr_1x1(x) if self.rbr_reparam is None else self.rbr_reparam(x))

    def fold(self) -> None:
        """Add up the branches."""
        if self.rbr_reparam is None:
            conv, small = _folded(*self.rbr_dense), _folded(*self.rbr_1x1)
            with torch.no_grad():
                conv.weight += nn.functional.pad(small.weight, [1, 1, 1, 1])
                conv.bias += small.bias
            self.rbr_reparam, self.rbr_dense, self.rbr_1x1 = conv, None, None


class Pyramid(nn.Module):
    """Pooling over windows of 5, 9 and 13 in one of two parallel paths (cross stage partial spatial pyramid)."""

    def __init__(self, inputs: int, outputs: int, activation: nn.Module, folded: bool = False) -> None:
        super().__init__()

        def conv(channels: int, kernel: int = 1, out: int = outputs) -> Conv:
            return Conv(channels, out, kernel, 1, activation, folded)

        self.cv1, self.cv2 = conv(inputs), conv(inputs)
        self.cv3, self.cv4 = conv(outputs, 3), conv(outputs)
        self.cv5, self.cv6 = conv(4 * outputs), conv(outputs, 3)
        self.cv7 = conv(2 * outputs)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        pooled = [self.cv4(self.cv3(self.cv1(x)))]
        for _ in range(3):  # pooling again by 5 widens a window by 4
            pooled.append(self.pool(pooled[-1]))
        return self.cv7(torch.cat([self.cv6(self.cv5(torch.cat(pooled, 1))), self.cv2(x)], 1))


class Concat(nn.Module):
    """Feature maps side by side."""

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        """Concatenate over channels."""
        return torch.cat(features, 1)


class Implicit(nn.Module):
    """A trained constant for each channel, which is added or multiplied (arXiv:2105.04206)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.zeros(1, channels, 1, 1))


class Detect(nn.Module):
    """1x1 convolutions that give every anchor of every cell its box, objectness and class logits.

    Args:
        channels: Of the three levels.
        implicit: Trained constants are added before and multiplied after the convolutions.
    """

    def __init__(self, channels: tuple[int, ...], num_classes: int, anchors: Anchors, implicit: bool = False) -> None:
        super().__init__()
        outputs = len(anchors[0]) * (5 + num_classes)
        pixels = torch.tensor(anchors, dtype=torch.float32)
        self.register_buffer("anchors", pixels / torch.tensor(STRIDES)[:, None, None])
        self.register_buffer("anchor_grid", pixels[:, None, :, None, None])
        self.m = nn.ModuleList(_conv(inputs, outputs, 1, bias=True) for inputs in channels)
        self.ia = nn.ModuleList(Implicit(inputs) for inputs in channels) if implicit else None
        self.im = nn.ModuleList(Implicit(outputs) for _ in channels) if implicit else None

    def forward(self, *maps: torch.Tensor) -> list[Level]:
        """Find and decode the boxes of feature maps [B, channels, H, W]."""
        decoded = []
        for index, (features, stride) in enumerate(zip(maps, STRIDES, strict=True)):
            if self.ia is None:
                logits = self.m[index](features)
            else:
                logits = self.m[index](features + self.ia[index].implicit) * self.im[index].implicit
            batch, channels, height, width = logits.shape
            anchors = self.anchor_grid[index].reshape(1, -1, 2, 1)
            values = logits.reshape(batch, anchors.shape[1], channels // anchors.shape[1], height * width).sigmoid()
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            cells = torch.stack([x, y]).reshape(1, 1, 2, -1).to(values)
            centre = values[:, :, 0:2] * (2.0 * stride) + (cells - 0.5) * stride
            half = values[:, :, 2:4] * values[:, :, 2:4] * (2.0 * anchors)
            decoded.append((centre, half, values[:, :, 4:]))
        return decoded

    def fold(self) -> None:
        """Make the implicit constants part of the convolutions: (conv(x + a)) * m."""
        if self.ia is not None:
            with torch.no_grad():
                for conv, added, factor in zip(self.m, self.ia, self.im, strict=True):
                    conv.bias += conv.weight.flatten(1) @ added.implicit.flatten()
                    conv.bias *= factor.implicit.flatten()
                    conv.weight *= factor.implicit.reshape(-1, 1, 1, 1)
            self.ia = self.im = None

    def drop_implicit(self) -> None:
        """Forget the implicit constants: the convolutions have them in already."""
        self.ia = self.im = None
