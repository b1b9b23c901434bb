"""What holds for QuickSRNet-Medium."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.models._shared.super_resolution.testing import SuperResolutionTests


class TestModel(SuperResolutionTests):
    """Every test is inherited."""

    model_id = "quicksrnetmedium"
    tensors = 14
    shapes: ClassVar = {"cnn.0.weight": (32, 3, 3, 3), "cnn.10.weight": (32, 32, 3, 3), "conv_last.bias": (48,)}
