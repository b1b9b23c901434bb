"""MNASNet-0.5 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """MNASNet-0.5: MnasNet: Platform-Aware Neural Architecture Search for Mobile, https://arxiv.org/abs/1807.11626."""

    model_id = "mnasnet05"
    builder = staticmethod(models.mnasnet0_5)
    published = models.MNASNet0_5_Weights
