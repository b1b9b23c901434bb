"""ViT-B/16 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from typing import ClassVar

from torchvision import models

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """ViT-B/16: An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, https://arxiv.org/abs/2010.11929."""

    model_id = "vit"
    builder = staticmethod(models.vit_b_16)
    published = models.ViT_B_16_Weights
    renamed: ClassVar = {r"mlp\.linear_1\.": "mlp.0.", r"mlp\.linear_2\.": "mlp.3."}

    @staticmethod
    def get_input_spec(batch_size: int = 1) -> InputSpec:
        """One picture of 224x224 pixels: the position embedding has no other size."""
        return {"image": image_spec(224, 224, batch_size)}
