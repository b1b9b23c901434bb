"""EfficientNet-B4 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models
from torchvision.models.efficientnet import MBConv

from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier, picture_spec


class Model(ImagenetClassifier):
    """EfficientNet-B4: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, https://arxiv.org/abs/1905.11946."""

    model_id = "efficientnet_b4"
    builder = staticmethod(models.efficientnet_b4)
    published = models.EfficientNet_B4_Weights
    estimated_at = 380
    damped = (MBConv,)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 380, width: int = 380) -> InputSpec:
        """One picture, by default of the size the weights were trained for."""
        return picture_spec(batch_size, height, width)
