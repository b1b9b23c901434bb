"""What holds for QuickSRNet-Large."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.models._shared.super_resolution.testing import SuperResolutionTests


class TestModel(SuperResolutionTests):
    """Every test is inherited."""

    model_id = "quicksrnetlarge"
    tensors = 28
    shapes: ClassVar = {
        "cnn.22.weight": (64, 64, 3, 3),
        "conv_last.weight": (48, 64, 3, 3),
        "anchor.net.weight": (48, 3, 1, 1),
    }
