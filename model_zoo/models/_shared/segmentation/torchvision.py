"""What every segmentation network of torchvision shares; a model names its builder and its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import nn
from torchvision.models import WeightsEnum

from model_zoo.base.weights import resolve_weights
from model_zoo.models._shared.imagenet_classifier.model import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalize,
    class_count,
    published_files,
    read_network,
)
from model_zoo.models._shared.random_weights import estimate_batch_norm, randomize_zeros, seeded, varied_pictures
from model_zoo.models._shared.segmentation.model import SegmentationModel


class TorchvisionSegmentation(SegmentationModel):
    """Takes RGB in 0..1, normalises it itself, and gives logits of the input's size.

    Subclasses set the class variables.

    Args:
        network: The torchvision network; takes normalised RGB, gives logits as `out`.
    """

    model_id: ClassVar[str]
    #: The torchvision function, without a backbone's weights of its own.
    builder: ClassVar[Callable[..., nn.Module]]
    #: The published checkpoints.
    published: ClassVar[type[WeightsEnum]]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load a published checkpoint, or your own with any number of classes.

        Args:
            weights: DEFAULT, the name of a torchvision checkpoint (e.g. COCO_WITH_VOC_LABELS_V1), the path of a
                checkpoint whose names are those of torchvision, or `random`.
        """
        path = resolve_weights(weights, cls.model_id, published_files(cls.published), cls.published.DEFAULT.name)
        if path is not None:
            # A second head, which only helps in training, is left out.
            return cls(read_network(cls.builder, path, (r"aux_classifier\.",))).eval()
        with seeded():
            model = cls(cls.builder()).eval()
            randomize_zeros(model)
            estimate_batch_norm(model, varied_pictures(4, 96))
        return model

    @property
    def num_classes(self) -> int:
        """How many classes there are: 21, or what the user's checkpoint has."""
        return class_count(self.network)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Tell the class of each pixel.

        Args:
            image: RGB [B, 3, H, W] in 0..1; height and width are multiples of 16.

        Returns:
            Logits [B, classes, H, W].
        """
        logits: torch.Tensor = self.network(self.normalize(image))["out"]
        return logits

    def labels(self) -> list[str] | None:
        """The names of Pascal VOC, the background first; None for a user's own classes."""
        names = self.published.DEFAULT.meta["categories"]
        return list(names) if self.num_classes == len(names) else None

    @staticmethod
    def eval_datasets() -> list[str]:
        """Pascal VOC 2012, whose classes the published weights know."""
        return ["voc"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """The training pictures of Pascal VOC 2012."""
        return "voc"
