"""What holds for LRASPP-MobileNetV3-Large."""

from __future__ import annotations

from torch import nn

from model_zoo.base.registry import load_model_class
from model_zoo.models._shared.segmentation.testing import SegmentationTests


class TestModel(SegmentationTests):
    """The tests are inherited."""

    model_id = "lraspp_mobilenet_v3"

    def library_network(self, classes: int) -> nn.Module:
        """It has no second head."""
        return load_model_class(self.model_id).builder(num_classes=classes)
