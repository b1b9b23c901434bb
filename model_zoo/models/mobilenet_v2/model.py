"""MobileNet-v2 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """MobileNetV2: Inverted Residuals and Linear Bottlenecks, https://arxiv.org/abs/1801.04381."""

    model_id = "mobilenet_v2"
    builder = staticmethod(models.mobilenet_v2)
    published = models.MobileNet_V2_Weights
