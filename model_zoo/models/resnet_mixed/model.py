"""ResNet Mixed Convolution for Kinetics-400, as torchvision publishes it."""

from __future__ import annotations

from torchvision.models import video

from model_zoo.models._shared.video_classifier.model import TorchvisionVideoClassifier


class Model(TorchvisionVideoClassifier):
    """ResNet Mixed Convolution: A Closer Look at Spatiotemporal Convolutions for Action Recognition, https://arxiv.org/abs/1711.11248."""

    model_id = "resnet_mixed"
    builder = staticmethod(video.mc3_18)
    published = video.MC3_18_Weights
