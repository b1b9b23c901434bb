"""MobileNet-v3-Small for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """MobileNet-v3-Small: Searching for MobileNetV3, https://arxiv.org/abs/1905.02244."""

    model_id = "mobilenet_v3_small"
    builder = staticmethod(models.mobilenet_v3_small)
    published = models.MobileNet_V3_Small_Weights
