"""ResNeXt-101 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """ResNeXt-101: Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431."""

    model_id = "resnext101"
    builder = staticmethod(models.resnext101_32x8d)
    published = models.ResNeXt101_32X8D_Weights
