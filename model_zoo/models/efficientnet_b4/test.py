"""What holds for EfficientNet-B4."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests


class TestModel(ImagenetClassifierTests):
    """Every test is inherited."""

    model_id = "efficientnet_b4"
