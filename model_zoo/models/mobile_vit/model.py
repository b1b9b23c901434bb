"""MobileViT-S for ImageNet, as timm publishes it."""

from __future__ import annotations

from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.imagenet_classifier.model import picture_spec
from model_zoo.models._shared.imagenet_classifier.timm import TimmClassifier


class Model(TimmClassifier):
    """MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer, https://arxiv.org/abs/2110.02178."""

    model_id = "mobile_vit"
    pretrained = "mobilevit_s.cvnets_in1k"

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 256, width: int = 256) -> InputSpec:
        """One picture, by default of the size the weights were trained for."""
        return picture_spec(batch_size, height, width, least=64)
