"""ViT-B/16 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from typing import ClassVar

from torchvision import models

from model_zoo.base.spec import InputSpec, image_spec
from model_zoo.base.weights import WeightsFile
from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier

#: Height and width of a picture: the position embedding has no other.
SIZE = 224


class Model(ImagenetClassifier):
    """ViT-B/16: An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, https://arxiv.org/abs/2010.11929."""

    model_id = "vit"
    builder = staticmethod(models.vit_b_16)
    published = models.ViT_B_16_Weights
    renamed: ClassVar = {r"mlp\.linear_1\.": "mlp.0.", r"mlp\.linear_2\.": "mlp.3."}

    @classmethod
    def checkpoints(cls) -> tuple[dict[str, WeightsFile], str]:
        """Those for pictures of this size: the position embedding of others does not fit."""
        files, default = super().checkpoints()
        fitting = {n: f for n, f in files.items() if cls.published[n].meta["min_size"] == (SIZE, SIZE)}
        return fitting, default

    @staticmethod
    def get_input_spec(batch_size: int = 1) -> InputSpec:
        """One picture of 224x224 pixels."""
        return {"image": image_spec(SIZE, SIZE, batch_size)}
