"""ConvNeXt-Base for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """ConvNeXt-Base: A ConvNet for the 2020s, https://arxiv.org/abs/2201.03545."""

    model_id = "convnext_base"
    builder = staticmethod(models.convnext_base)
    published = models.ConvNeXt_Base_Weights
