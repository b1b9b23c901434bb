"""What holds for Real-ESRGAN-General-x4v3."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.models._shared.super_resolution.testing import SuperResolutionTests


class TestModel(SuperResolutionTests):
    """Every test is inherited."""

    model_id = "real_esrgan_general_x4v3"
    tensors = 101
    shapes: ClassVar = {"body.0.weight": (64, 3, 3, 3), "body.1.weight": (64,), "body.66.weight": (48, 64, 3, 3)}
    seam = 3.0  # the network looks 34 pixels far, its tiles 16: what lies beyond hardly counts
