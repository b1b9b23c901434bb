"""MobileNet-v4-Conv-Small for ImageNet, as timm publishes it."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.timm import TimmClassifier


class Model(TimmClassifier):
    """MobileNetV4: Universal Models for the Mobile Ecosystem,
    https://arxiv.org/abs/2404.10518.
    """

    model_id = "mobilenet_v4"
    pretrained = "mobilenetv4_conv_small.e2400_r224_in1k"
