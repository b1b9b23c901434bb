"""What holds for SESR-M5."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.models._shared.super_resolution.testing import SuperResolutionTests


class TestModel(SuperResolutionTests):
    """Every test is inherited."""

    model_id = "sesr_m5"
    tensors = 16
    shapes: ClassVar = {
        "conv_first.conv_expand.weight": (16, 3, 5, 5),
        "residual_block.4.conv_expand.weight": (16, 16, 3, 3),
        "conv_last.conv_expand.bias": (48,),
    }
