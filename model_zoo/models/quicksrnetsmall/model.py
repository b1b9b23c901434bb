"""QuickSRNet-Small, a few plain convolutions that enlarge pictures four times."""

from __future__ import annotations

from model_zoo.models._shared.super_resolution.quicksrnet import QuickSRNet, quicksrnet_file


class Model(QuickSRNet):
    """QuickSRNet-Small: 32 channels, 2 layers between the first and the last."""

    model_id = "quicksrnetsmall"
    published = quicksrnet_file("small")
    channels, layers = 32, 2
