"""QuickSRNet-Medium, plain convolutions that enlarge pictures four times."""

from __future__ import annotations

from model_zoo.models._shared.super_resolution.quicksrnet import QuickSRNet, quicksrnet_file


class Model(QuickSRNet):
    """QuickSRNet-Medium: 32 channels, 5 layers between the first and the last."""

    model_id = "quicksrnetmedium"
    published = quicksrnet_file("medium")
    channels, layers = 32, 5
