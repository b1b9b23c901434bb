"""FCN with ResNet-50, as torchvision publishes it."""

from __future__ import annotations

from functools import partial

from torchvision.models import segmentation

from model_zoo.models._shared.segmentation.torchvision import TorchvisionSegmentation


class Model(TorchvisionSegmentation):
    """Fully Convolutional Networks for Semantic Segmentation, https://arxiv.org/abs/1411.4038."""

    model_id = "fcn_resnet50"
    builder = partial(segmentation.fcn_resnet50, weights_backbone=None)
    published = segmentation.FCN_ResNet50_Weights
