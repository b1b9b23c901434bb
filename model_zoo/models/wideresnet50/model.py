"""WideResNet-50 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """WideResNet-50: Wide Residual Networks, https://arxiv.org/abs/1605.07146."""

    model_id = "wideresnet50"
    builder = staticmethod(models.wide_resnet50_2)
    published = models.Wide_ResNet50_2_Weights
