"""DenseNet-121 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from typing import ClassVar

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """DenseNet-121: Densely Connected Convolutional Networks, https://arxiv.org/abs/1608.06993."""

    model_id = "densenet121"
    builder = staticmethod(models.densenet121)
    published = models.DenseNet121_Weights
    renamed: ClassVar = {r"(denselayer\d+\.(?:norm|conv))\.([12]\.)": r"\1\2"}
