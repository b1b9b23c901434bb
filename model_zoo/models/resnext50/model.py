"""ResNeXt-50 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """ResNeXt-50: Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431."""

    model_id = "resnext50"
    builder = staticmethod(models.resnext50_32x4d)
    published = models.ResNeXt50_32X4D_Weights
