"""What holds for MobileNet-v4-Conv-Small."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests


class TestModel(ImagenetClassifierTests):
    """Every test is inherited."""

    model_id = "mobilenet_v4"
