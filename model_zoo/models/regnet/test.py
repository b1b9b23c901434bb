"""What holds for RegNet-X-3.2GF."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.testing import ImagenetClassifierTests


class TestModel(ImagenetClassifierTests):
    """Every test is inherited."""

    model_id = "regnet"
