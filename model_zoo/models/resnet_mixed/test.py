"""What holds for ResNet Mixed Convolution."""

from __future__ import annotations

from model_zoo.models._shared.video_classifier.testing import VideoClassifierTests


class TestModel(VideoClassifierTests):
    """Every test is inherited."""

    model_id = "resnet_mixed"
