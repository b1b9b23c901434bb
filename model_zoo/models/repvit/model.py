"""RepViT-M1.0 for ImageNet, as timm publishes it."""

from __future__ import annotations

from model_zoo.models._shared.imagenet_classifier.timm import TimmClassifier


class Model(TimmClassifier):
    """RepViT: Revisiting Mobile CNN From ViT Perspective,
    https://arxiv.org/abs/2307.09283.
    """

    model_id = "repvit"
    pretrained = "repvit_m1_0.dist_450e_in1k"
