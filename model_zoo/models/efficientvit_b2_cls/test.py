"""What holds for EfficientViT-B2-CLS."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests


class TestModel(ImagenetClassifierTests):
    """Every test is inherited."""

    model_id = "efficientvit_b2_cls"
