"""ResNet-3D for Kinetics-400, as torchvision publishes it."""

from __future__ import annotations

from torchvision.models import video

from model_zoo.models._shared.video_classifier.model import TorchvisionVideoClassifier


class Model(TorchvisionVideoClassifier):
    """ResNet-3D: A Closer Look at Spatiotemporal Convolutions for Action Recognition, https://arxiv.org/abs/1711.11248."""

    model_id = "resnet_3d"
    builder = staticmethod(video.r3d_18)
    published = video.R3D_18_Weights
