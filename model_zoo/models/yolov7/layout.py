"""Which layer feeds which: the networks of the YOLOv7 paper (arXiv:2207.02696) as numbered layers.

The numbers are those of the official checkpoints, whose parameters are named `model.<number>.…`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Variant = Literal["yolov7-tiny", "yolov7", "yolov7x"]

#: What a layer does. `rep` is a convolution trained as parallel branches, `pyramid` the pooling pyramid of the neck.
Kind = Literal["conv", "rep", "pyramid", "halve", "pool", "double", "concat"]

#: As source: the picture.
IMAGE = -1

#: Width and height in pixels, three for each of the strides 8, 16 and 32.
Anchors = tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class Layer:
    """One numbered layer.

    Args:
        sources: Numbers of the layers it takes, in order.
        channels: Of its output.
    """

    kind: Kind
    sources: tuple[int, ...]
    channels: int
    kernel: int = 1
    stride: int = 1


@dataclass(frozen=True)
class Layout:
    """A whole network.

    Args:
        layers: In order; the detection layer comes after the last.
        outputs: The layers that the detection layer takes, for strides 8, 16 and 32.
        activation: Negative slope of the leaky ReLU; None for SiLU.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[int, int, int]
    anchors: Anchors
    leaky_slope: float | None = None

    @property
    def detect(self) -> int:
        """Number of the detection layer."""
        return len(self.layers)

    def channels(self, number: int) -> int:
        """Channels of a layer's output."""
        return 3 if number == IMAGE else self.layers[number].channels

    def scaled(self, width: float) -> Layout:
        """The same network with another number of channels, as a factor."""
        layers = (replace(layer, channels=round(layer.channels * width)) for layer in self.layers)
        return replace(self, layers=tuple(layers))

    def conv_names(self) -> Iterator[str]:
        """Names of the weights of all plain convolutions."""
        return (f"model.{number}.conv.weight" for number, layer in enumerate(self.layers) if layer.kind == "conv")


class _Plan:
    """Layers as they are added. Every method gives the number of the last one it added."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    @property
    def last(self) -> int:
        return len(self.layers) - 1

    def add(self, kind: Kind, *sources: int, channels: int | None = None, kernel: int = 1, stride: int = 1) -> int:
        if channels is None:
            channels = sum(self.layers[source].channels for source in sources)
        self.layers.append(Layer(kind, sources, channels, kernel, stride))
        return self.last

    def conv(self, source: int, channels: int, kernel: int = 1, stride: int = 1) -> int:
        return self.add("conv", source, channels=channels, kernel=kernel, stride=stride)

    def elan(self, source: int, width: int, hidden: int, depth: int, tap: int, out: int) -> int:
        """Efficient layer aggregation: a chain of 3x3 convolutions, every `tap`-th of which is seen at the end."""
        taps = [self.conv(source, width), self.conv(source, width)]
        for step in range(1, depth + 1):
            number = self.conv(self.last, hidden, kernel=3)
            if step % tap == 0:
                taps.append(number)
        return self.conv(self.add("concat", *reversed(taps)), out)

    def downsample(self, source: int, width: int, *beside: int) -> int:
        """Halve the resolution twice over, by pooling and by a strided convolution, and put both side by side."""
        pooled = self.conv(self.add("halve", source), width)
        strided = self.conv(self.conv(source, width), width, kernel=3, stride=2)
        return self.add("concat", strided, pooled, *beside)

    def upsample(self, source: int, lateral: int, width: int) -> int:
        """Double the resolution and put it beside an earlier layer of that size."""
        doubled = self.add("double", self.conv(source, width))
        return self.add("concat", self.conv(lateral, width), doubled)


def _large(base: int, depth: int, neck_depth: int, neck_tap: int, neck_hidden: float, heads: Kind) -> Layout:
    """YOLOv7 and YOLOv7-X: the same plan, scaled.

    Args:
        base: Channels of the first layer.
        depth: 3x3 convolutions of an aggregation block in the backbone.
        neck_hidden: Their width in the neck, as part of the block's.
    """
    plan = _Plan()
    stem = plan.conv(plan.conv(IMAGE, base, 3), 2 * base, 3, stride=2)
    stage = plan.conv(plan.conv(stem, 2 * base, 3), 4 * base, 3, stride=2)
    stages: list[int] = []
    for index, (width, out) in enumerate([(64, 8), (128, 16), (256, 32), (256, 32)]):
        if index:
            stage = plan.downsample(stage, base * 2 ** (index + 1))
        stage = plan.elan(stage, width, width, depth, 2, out * base)
        stages.append(stage)

    def neck(source: int, width: int, out: int) -> int:
        return plan.elan(source, width, int(width * neck_hidden), neck_depth, neck_tap, out * base)

    top = plan.add("pyramid", stages[3], channels=16 * base)
    middle = neck(plan.upsample(top, stages[2], 8 * base), 256, 8)
    low = neck(plan.upsample(middle, stages[1], 4 * base), 128, 4)
    medium = neck(plan.downsample(low, 4 * base, middle), 256, 8)
    high = neck(plan.downsample(medium, 8 * base, top), 512, 16)
    outputs = [
        plan.add(heads, source, channels=channels * base, kernel=3)
        for source, channels in ((low, 8), (medium, 16), (high, 32))
    ]
    anchors: Anchors = (
        ((12, 16), (19, 36), (40, 28)),
        ((36, 75), (76, 55), (72, 146)),
        ((142, 110), (192, 243), (459, 401)),
    )
    return Layout(tuple(plan.layers), (outputs[0], outputs[1], outputs[2]), anchors)


def _tiny() -> Layout:
    plan = _Plan()

    def block(source: int, width: int) -> int:
        return plan.elan(source, width, width, 2, 1, 2 * width)

    stage = block(plan.conv(plan.conv(IMAGE, 32, 3, stride=2), 64, 3, stride=2), 32)
    stages = [stage]
    for width in (64, 128, 256):
        stage = block(plan.add("halve", stage), width)
        stages.append(stage)
    beside, pooled = plan.conv(stage, 256), plan.conv(stage, 256)
    pyramid = [pooled]
    for _ in range(3):  # windows of 5, 9 and 13: pooling again by 5 widens a window by 4
        pyramid.append(plan.add("pool", pyramid[-1], kernel=5))
    merged = plan.conv(plan.add("concat", *reversed(pyramid)), 256)
    top = plan.conv(plan.add("concat", merged, beside), 256)
    middle = block(plan.upsample(top, stages[2], 128), 64)
    low = block(plan.upsample(middle, stages[1], 64), 32)
    medium = block(plan.add("concat", plan.conv(low, 128, 3, stride=2), middle), 64)
    high = block(plan.add("concat", plan.conv(medium, 256, 3, stride=2), top), 128)
    outputs = (plan.conv(low, 128, 3), plan.conv(medium, 256, 3), plan.conv(high, 512, 3))
    anchors: Anchors = (
        ((10, 13), (16, 30), (33, 23)),
        ((30, 61), (62, 45), (59, 119)),
        ((116, 90), (156, 198), (373, 326)),
    )
    return Layout(tuple(plan.layers), outputs, anchors, leaky_slope=0.1)


LAYOUTS: dict[Variant, Layout] = {
    "yolov7-tiny": _tiny(),
    "yolov7": _large(32, depth=4, neck_depth=4, neck_tap=1, neck_hidden=0.5, heads="rep"),
    "yolov7x": _large(40, depth=6, neck_depth=6, neck_tap=2, neck_hidden=1.0, heads="conv"),
}
