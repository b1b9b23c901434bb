"""ShuffleNet-v2 for ImageNet, as torchvision publishes it."""

from __future__ import annotations

from torchvision import models

from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class Model(ImagenetClassifier):
    """ShuffleNet-v2: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, https://arxiv.org/abs/1807.11164."""

    model_id = "shufflenet_v2"
    builder = staticmethod(models.shufflenet_v2_x1_0)
    published = models.ShuffleNet_V2_X1_0_Weights
