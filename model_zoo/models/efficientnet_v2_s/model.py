"""EfficientNetV2-S for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models
from torchvision.models.efficientnet import FusedMBConv, MBConv

from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier, picture_spec


class Model(ImagenetClassifier):
    """EfficientNetV2-S: EfficientNetV2: Smaller Models and Faster Training, https://arxiv.org/abs/2104.00298."""

    model_id = "efficientnet_v2_s"
    builder = staticmethod(models.efficientnet_v2_s)
    published = models.EfficientNet_V2_S_Weights
    estimated_at = 384
    damped = (MBConv, FusedMBConv)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 384, width: int = 384) -> InputSpec:
        """One picture, by default of the size the weights were trained for."""
        return picture_spec(batch_size, height, width)
