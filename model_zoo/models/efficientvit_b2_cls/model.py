"""EfficientViT-B2-CLS for ImageNet, as timm publishes it."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.timm import TimmClassifier


class Model(TimmClassifier):
    """EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction,
    https://arxiv.org/abs/2205.14756.
    """

    model_id = "efficientvit_b2_cls"
    pretrained = "efficientvit_b2.r224_in1k"
