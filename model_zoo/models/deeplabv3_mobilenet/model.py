"""DeepLabV3 with MobileNetV3-Large, as torchvision publishes it."""

from __future__ import annotations

from functools import partial

from torchvision.models import segmentation

from model_zoo.base.spec import InputSpec
from model_zoo.models._shared.segmentation.torchvision import TorchvisionSegmentation


class Model(TorchvisionSegmentation):
    """Rethinking Atrous Convolution for Semantic Image Segmentation, https://arxiv.org/abs/1706.05587."""

    model_id = "deeplabv3_mobilenet"
    builder = partial(segmentation.deeplabv3_mobilenet_v3_large, weights_backbone=None)
    published = segmentation.DeepLabV3_MobileNet_V3_Large_Weights

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 512, width: int = 512) -> InputSpec:
        """One picture, by default of nearly the 520 pixels that the weights are scored with."""
        return TorchvisionSegmentation.get_input_spec(batch_size, height, width)
