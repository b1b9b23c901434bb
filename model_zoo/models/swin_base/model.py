"""Swin-Base for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """Swin-Base: Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, https://arxiv.org/abs/2103.14030."""

    model_id = "swin_base"
    builder = staticmethod(models.swin_b)
    published = models.Swin_B_Weights
