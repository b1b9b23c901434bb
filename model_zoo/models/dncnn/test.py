"""What holds for DnCNN."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.models._shared.restoration.testing import RestorationTests


class TestModel(RestorationTests):
    """Every test is inherited."""

    model_id = "dncnn"
    tensors = 40
    shapes: ClassVar = {"model.0.weight": (64, 3, 3, 3), "model.36.bias": (64,), "model.38.weight": (3, 64, 3, 3)}
