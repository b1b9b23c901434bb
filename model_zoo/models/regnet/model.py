"""RegNet-X-3.2GF for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """RegNet-X-3.2GF: Designing Network Design Spaces, https://arxiv.org/abs/2003.13678."""

    model_id = "regnet"
    builder = staticmethod(models.regnet_x_3_2gf)
    published = models.RegNet_X_3_2GF_Weights
