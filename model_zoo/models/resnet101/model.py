"""ResNet-101 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """ResNet-101: Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385."""

    model_id = "resnet101"
    builder = staticmethod(models.resnet101)
    published = models.ResNet101_Weights
