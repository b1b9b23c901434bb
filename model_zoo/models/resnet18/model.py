"""ResNet-18 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """ResNet-18: Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385."""

    model_id = "resnet18"
    builder = staticmethod(models.resnet18)
    published = models.ResNet18_Weights
