"""ConvNeXt-Tiny for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """ConvNeXt-Tiny: A ConvNet for the 2020s, https://arxiv.org/abs/2201.03545."""

    model_id = "convnext_tiny"
    builder = staticmethod(models.convnext_tiny)
    published = models.ConvNeXt_Tiny_Weights
