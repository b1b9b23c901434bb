"""GoogLeNet for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from functools import partial

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """GoogLeNet: Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842."""

    model_id = "googlenet"
    builder = partial(models.googlenet, aux_logits=False, transform_input=True, init_weights=False)
    published = models.GoogLeNet_Weights
    left_out = (r"aux[12]\.",)
