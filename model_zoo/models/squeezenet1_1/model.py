"""SqueezeNet-1.1 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """SqueezeNet-1.1: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size, https://arxiv.org/abs/1602.07360."""

    model_id = "squeezenet1_1"
    builder = staticmethod(models.squeezenet1_1)
    published = models.SqueezeNet1_1_Weights
