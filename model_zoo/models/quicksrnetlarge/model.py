"""QuickSRNet-Large, plain convolutions that enlarge pictures four times."""

from __future__ import annotations

from model_zoo.models._shared.super_resolution.quicksrnet import QuickSRNet, quicksrnet_file


class Model(QuickSRNet):
    """QuickSRNet-Large: 64 channels, 11 layers between the first and the last, the input added to the output."""

    model_id = "quicksrnetlarge"
    published = quicksrnet_file("large")
    channels, layers = 64, 11
    anchored = True
