"""Swin-Tiny for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """Swin-Tiny: Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, https://arxiv.org/abs/2103.14030."""

    model_id = "swin_tiny"
    builder = staticmethod(models.swin_t)
    published = models.Swin_T_Weights
