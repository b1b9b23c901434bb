"""The network of YOLOX in its variants (arXiv:2107.08430), and what a checkpoint tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from model_zoo.models.yolox.layers import Conv, CrossStage, DepthwiseConv, Focus, Head, MakeConv, Pyramid
from model_zoo.utils.errors import UserError

Variant = Literal["yolox_nano", "yolox_tiny", "yolox_s", "yolox_m", "yolox_l"]

#: Pixels between neighbouring cells of the three levels.
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Form:
    """What tells the variants apart.

    Args:
        depth: Bottlenecks in a stage of the neck; the third and fourth stage of the backbone have three times as many.
        width: Channels behind the first layer.
        depthwise: 3x3 convolutions are split into one for each channel and one over all.
    """

    depth: int
    width: int
    depthwise: bool = False


FORMS: dict[Variant, Form] = {
    "yolox_nano": Form(1, 16, depthwise=True),
    "yolox_tiny": Form(1, 24),
    "yolox_s": Form(1, 32),
    "yolox_m": Form(2, 48),
    "yolox_l": Form(3, 64),
}


class Darknet(nn.Module):
    """The backbone: five stages, each of which halves the picture."""

    def __init__(self, form: Form, conv: MakeConv) -> None:
        super().__init__()
        first, second, third, fourth, fifth = (form.width * 2**stage for stage in range(5))

        def stage(inputs: int, outputs: int, depth: int) -> list[nn.Module]:
            return [conv(inputs, outputs, 3, 2), CrossStage(outputs, outputs, depth, True, conv)]

        self.stem = Focus(3, first)
        self.dark2 = nn.Sequential(*stage(first, second, form.depth))
        self.dark3 = nn.Sequential(*stage(second, third, 3 * form.depth))
        self.dark4 = nn.Sequential(*stage(third, fourth, 3 * form.depth))
        self.dark5 = nn.Sequential(
            conv(fourth, fifth, 3, 2), Pyramid(fifth, fifth), CrossStage(fifth, fifth, form.depth, False, conv)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[B, 3, H, W] to the maps at strides 8, 16 and 32."""
        third = self.dark3(self.dark2(self.stem(x)))
        fourth = self.dark4(third)
        return third, fourth, self.dark5(fourth)


class Neck(nn.Module):
    """The backbone, and paths down and up again that let each level see the others."""

    def __init__(self, form: Form, conv: MakeConv) -> None:
        super().__init__()
        fine, middle, coarse = (form.width * 2**stage for stage in (2, 3, 4))

        def fuse(inputs: int, outputs: int) -> CrossStage:
            return CrossStage(inputs, outputs, form.depth, False, conv)

        self.backbone = Darknet(form, conv)
        self.lateral_conv0, self.C3_p4 = Conv(coarse, middle), fuse(2 * middle, middle)
        self.reduce_conv1, self.C3_p3 = Conv(middle, fine), fuse(2 * fine, fine)
        self.bu_conv2, self.C3_n3 = conv(fine, fine, 3, 2), fuse(2 * fine, middle)
        self.bu_conv1, self.C3_n4 = conv(middle, middle, 3, 2), fuse(2 * middle, coarse)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[B, 3, H, W] to the maps at strides 8, 16 and 32."""
        fine, middle, coarse = self.backbone(x)
        top = self.lateral_conv0(coarse)
        between = self.reduce_conv1(self.C3_p4(torch.cat([self.upsample(top), middle], 1)))
        first = self.C3_p3(torch.cat([self.upsample(between), fine], 1))
        second = self.C3_n3(torch.cat([self.bu_conv2(first), between], 1))
        return first, second, self.C3_n4(torch.cat([self.bu_conv1(second), top], 1))


class Network(nn.Module):
    """Backbone, neck and head."""

    def __init__(self, form: Form, num_classes: int) -> None:
        super().__init__()
        conv: MakeConv = DepthwiseConv if form.depthwise else Conv
        self.num_classes = num_classes
        self.backbone = Neck(form, conv)
        self.head = Head(tuple(form.width * 2**stage for stage in (2, 3, 4)), 4 * form.width, num_classes, conv)

    def forward(self, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """BGR [B, 3, H, W] in 0..255 to what the head gives for each level."""
        return self.head(self.backbone(x))


def network_of(state: Mapping[str, torch.Tensor], source: str) -> Network:
    """An empty network of the form and the classes of a checkpoint.

    Args:
        source: Where it came from, for the message.

    Raises:
        UserError: It is of no variant.
    """
    first, last = state.get("backbone.backbone.stem.conv.conv.weight"), state.get("head.cls_preds.0.weight")
    if first is None or last is None or not len(first) or not len(last):
        raise UserError(f"{source} is no checkpoint of YOLOX", f"its variants are {', '.join(FORMS)}")
    blocks = {name.split(".")[4] for name in state if name.startswith("backbone.backbone.dark2.1.m.")}
    depthwise = any(".dconv." in name for name in state)
    with torch.device("meta"):  # nothing is drawn only to be overwritten
        return Network(Form(len(blocks), len(first), depthwise), len(last)).to_empty(device="cpu")
