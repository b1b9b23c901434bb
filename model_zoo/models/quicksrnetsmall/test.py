"""What holds for QuickSRNet-Small."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.models._shared.super_resolution.testing import SuperResolutionTests


class TestModel(SuperResolutionTests):
    """Every test is inherited."""

    model_id = "quicksrnetsmall"
    tensors = 8
    shapes: ClassVar = {"cnn.0.weight": (32, 3, 3, 3), "cnn.4.bias": (32,), "conv_last.weight": (48, 32, 3, 3)}
