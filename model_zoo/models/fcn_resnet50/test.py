"""What holds for FCN-ResNet50."""

from __future__ import annotations

from model_zoo.models._shared.segmentation.testing import SegmentationTests


class TestModel(SegmentationTests):
    """Every test is inherited."""

    model_id = "fcn_resnet50"
