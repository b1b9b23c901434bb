"""What every ImageNet classifier of timm shares; a model names its architecture and its checkpoint."""

from __future__ import annotations

from typing import Any, ClassVar

import timm
from timm.utils.model import reparameterize_model
from torch import nn

from model_zoo.base.weights import WeightsFile
from model_zoo.models._shared.imagenet_classifier.model import ImagenetClassifier


class TimmClassifier(ImagenetClassifier):
    """A timm classifier that takes RGB in 0..1 and normalises it itself. Subclasses set the two class variables.

    Layers that are only for training are merged after loading (timm calls it reparameterisation): parallel
    convolutions, batch normalisation, the second head of distillation.
    """

    model_id: ClassVar[str]
    #: timm's name with the tag of the checkpoint, e.g. `levit_128.fb_dist_in1k`.
    pretrained: ClassVar[str]

    @classmethod
    def builder(cls, **arguments: Any) -> nn.Module:
        """The network with fresh weights."""
        network: nn.Module = timm.create_model(cls.pretrained, **arguments)
        return network

    @classmethod
    def checkpoints(cls) -> tuple[dict[str, WeightsFile], str]:
        """One, by its tag. Nobody publishes its checksum."""
        config: Any = timm.get_pretrained_cfg(cls.pretrained)
        url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
        return {config.tag: WeightsFile(url, None, f"{cls.pretrained}.safetensors")}, config.tag

    @classmethod
    def mean_and_std(cls) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of R, G and B in 0..1, as the network was trained with."""
        config: Any = timm.get_pretrained_cfg(cls.pretrained)
        return config.mean, config.std

    @staticmethod
    def deployed(network: nn.Module) -> nn.Module:
        """With everything merged that timm can merge."""
        merged: nn.Module = reparameterize_model(network)
        return merged
