"""RegNet-Y-800MF for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """RegNet-Y-800MF: Designing Network Design Spaces, https://arxiv.org/abs/2003.13678."""

    model_id = "regnet_y_800mf"
    builder = staticmethod(models.regnet_y_800mf)
    published = models.RegNet_Y_800MF_Weights
