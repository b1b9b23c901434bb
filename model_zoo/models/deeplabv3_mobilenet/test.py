"""What holds for DeepLabV3-MobileNetV3-Large."""

from __future__ import annotations

from model_zoo.models._shared.segmentation.testing import SegmentationTests


class TestModel(SegmentationTests):
    """Every test is inherited."""

    model_id = "deeplabv3_mobilenet"
