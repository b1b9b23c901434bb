"""The YOLOv7 network, and how an official checkpoint becomes one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from model_zoo.checkpoints.state_dict import load_strict
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded
from model_zoo.models.yolov7.layers import STRIDES, Concat, Conv, Detect, Level, Pyramid, RepConv
from model_zoo.models.yolov7.layout import IMAGE, LAYOUTS, Layer, Layout, Variant
from model_zoo.utils.errors import UserError

COCO_CLASSES = 80

#: Of the layers that a checkpoint shares with a variant, fewer than this say that it is another network.
_SIMILAR = 0.5


@dataclass(frozen=True)
class Form:
    """What a checkpoint holds.

    Args:
        folded: Normalisations are part of their convolutions.
        rep_folded: Convolutions that were trained as branches are one.
        implicit: The detection layer has trained constants.
        width: Channels as a factor of the published network's.
    """

    variant: Variant
    num_classes: int = COCO_CLASSES
    folded: bool = False
    rep_folded: bool = False
    implicit: bool = False
    width: float = 1.0


class Network(nn.Module):
    """One variant, from a picture to decoded levels."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        self.layout = LAYOUTS[form.variant].scaled(form.width)
        slope = self.layout.leaky_slope
        activation = nn.SiLU() if slope is None else nn.LeakyReLU(slope)
        channels = tuple(self.layout.channels(number) for number in self.layout.outputs)
        self.model = nn.ModuleList(_module(layer, self.layout, activation, form) for layer in self.layout.layers)
        self.model.append(Detect(channels, form.num_classes, self.layout.anchors, form.implicit))

    def forward(self, image: torch.Tensor) -> list[Level]:
        """Run the network.

        Args:
            image: [B, 3, H, W] in 0..1, H and W multiples of 32.

        Returns:
            What `Detect` gives, for strides 8, 16 and 32.
        """
        maps = {IMAGE: image}
        last_use = {source: number for number, layer in enumerate(self.layout.layers) for source in layer.sources}
        for number, layer in enumerate(self.layout.layers):
            maps[number] = self.model[number](*(maps[source] for source in layer.sources))
            for source in set(layer.sources) - set(self.layout.outputs):
                if last_use[source] == number:
                    del maps[source]
        return self.model[self.layout.detect](*(maps[number] for number in self.layout.outputs))

    def load_checkpoint(self, state_dict: Mapping[str, torch.Tensor], source: str) -> Self:
        """Load a checkpoint of this form and fold it. Anchors that it does not hold are the published ones.

        Raises:
            UserError: It does not fit; lists every name that is missing, extra, or has another shape.
        """
        self.to_empty(device="cpu")
        load_strict(self, {**_anchors(state_dict, self.layout), **state_dict}, source)
        if self.form.folded:  # the official network folds all or nothing, and keeps the constants it has folded
            self.model[self.layout.detect].drop_implicit()
        return self.fold()

    def load_random(self) -> Self:
        """Keep the weights as they were drawn, and fold.

        The statistics of the batch normalisations become those of one small seeded batch of noise, three pictures of
        it fine and one in blocks, so that activations neither die out nor explode on their way through the network.
        """
        with seeded():
            noise = torch.rand(4, 3, 256, 256)
        noise[3] = noise[3, :, ::16, ::16].repeat_interleave(16, 1).repeat_interleave(16, 2)
        estimate_batch_norm(self, noise)
        return self.fold()

    def fold(self) -> Self:
        """Fold what training kept apart, for inference: the same outputs, up to rounding."""
        self.eval()
        for module in list(self.modules()):
            if isinstance(module, (Conv, RepConv, Detect)):
                module.fold()
        return self.requires_grad_(False)


def form_of(state_dict: Mapping[str, torch.Tensor], source: str) -> Form:
    """Tell variant, number of classes and form from names and shapes.

    Raises:
        UserError: It is no checkpoint of a variant we know, or its detection layer makes no sense.
    """
    shared = {
        variant: sum(name in state_dict for name in layout.conv_names()) / sum(1 for _ in layout.conv_names())
        for variant, layout in LAYOUTS.items()
    }
    variant = max(shared, key=lambda name: shared[name])
    if shared[variant] < _SIMILAR:
        raise UserError(
            f"{source} is no checkpoint of {', '.join(LAYOUTS)}: they have names like 'model.0.conv.weight', "
            f"it has '{next(iter(state_dict), '')}'"
        )
    layout = LAYOUTS[variant]
    outputs = [tensor.shape[0] for name, tensor in state_dict.items() if re.fullmatch(_head(layout), name)]
    count = max(outputs, key=outputs.count, default=3 * (5 + COCO_CLASSES))
    anchors = len(layout.anchors[0])
    if count % anchors or count // anchors < 6:
        raise UserError(f"{source}: {count} outputs of the detection layer are not {anchors} x (5 + number of classes)")
    return Form(
        variant,
        num_classes=count // anchors - 5,
        folded=not any(".bn." in name for name in state_dict),
        rep_folded=any(".rbr_reparam." in name for name in state_dict),
        implicit=any(".implicit" in name for name in state_dict),
        width=_width(state_dict, layout),
    )


def _width(state_dict: Mapping[str, torch.Tensor], layout: Layout) -> float:
    """Channels of the first layer, as a factor of the published ones."""
    first = state_dict.get(next(layout.conv_names()))
    return first.shape[0] / layout.channels(0) if first is not None and first.ndim == 4 and len(first) else 1.0


def _head(layout: Layout) -> str:
    return rf"model\.{layout.detect}\.m\.\d\.(weight|bias)"


def _anchors(state_dict: Mapping[str, torch.Tensor], layout: Layout) -> dict[str, torch.Tensor]:
    """Both buffers of the detection layer: in pixels, and in cells of each level."""
    names = {key: f"model.{layout.detect}.{key}" for key in ("anchors", "anchor_grid")}
    pixels = torch.tensor(layout.anchors, dtype=torch.float32)
    strides = torch.tensor(STRIDES)[:, None, None]
    if (cells := state_dict.get(names["anchors"])) is not None and cells.shape == pixels.shape:
        pixels = cells * strides
    if (grid := state_dict.get(names["anchor_grid"])) is not None and grid.numel() == pixels.numel():
        pixels = grid.reshape(pixels.shape)
    return {names["anchors"]: pixels / strides, names["anchor_grid"]: pixels[:, None, :, None, None]}


def _module(layer: Layer, layout: Layout, activation: nn.Module, form: Form) -> nn.Module:
    inputs = layout.channels(layer.sources[0])
    match layer.kind:
        case "conv":
            return Conv(inputs, layer.channels, layer.kernel, layer.stride, activation, form.folded)
        case "rep":
            return RepConv(inputs, layer.channels, activation, form.rep_folded)
        case "pyramid":
            return Pyramid(inputs, layer.channels, activation, form.folded)
        case "halve":
            return nn.MaxPool2d(2)
        case "pool":
            return nn.MaxPool2d(layer.kernel, stride=1, padding=layer.kernel // 2)
        case "double":
            return nn.Upsample(scale_factor=2, mode="nearest")
        case "concat":
            return Concat()
