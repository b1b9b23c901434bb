"""EfficientNet-B0 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """EfficientNet-B0: Rethinking Model Scaling for CNNs, https://arxiv.org/abs/1905.11946."""

    model_id = "efficientnet_b0"
    builder = staticmethod(models.efficientnet_b0)
    published = models.EfficientNet_B0_Weights
