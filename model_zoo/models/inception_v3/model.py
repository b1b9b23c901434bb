"""Inception-v3 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from functools import partial

from torchvision import models

from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier, picture_spec


class Model(ImagenetClassifier):
    """Inception-v3: Rethinking the Inception Architecture for Computer Vision, https://arxiv.org/abs/1512.00567."""

    model_id = "inception_v3"
    builder = partial(models.inception_v3, aux_logits=False, transform_input=True, init_weights=False)
    published = models.Inception_V3_Weights
    left_out = (r"AuxLogits\.",)

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 299, width: int = 299) -> InputSpec:
        """One picture, by default of the size the weights were trained for."""
        return picture_spec(batch_size, height, width, least=75)
