"""What holds for RepViT-M1.0."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests


class TestModel(ImagenetClassifierTests):
    """Every test is inherited."""

    model_id = "repvit"
