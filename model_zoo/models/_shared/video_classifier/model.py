"""What every classifier of video clips shares; a model of torchvision names its builder and its weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import nn
from torchvision.models import WeightsEnum

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.base.weights import resolve_weights
from model_zoo.evaluators.classification import ClassificationEvaluator
from model_zoo.models._shared.imagenet_classifier.model import Normalize, class_count, published_files, read_network
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded, varied_pictures
from model_zoo.models._shared.video_classifier.labels import kinetics_labels
from model_zoo.utils.errors import UserError

#: What torchvision's networks were trained with: mean and standard deviation of R, G and B in 0..1.
KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)

#: Time is halved three times, the picture four times.
MIN_FRAMES, MIN_SIZE = 8, 16


class VideoClassifier(BaseModel):
    """Takes the frames of a clip as RGB in 0..1 and normalises them itself."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """How many classes there are: 400, or what the user's checkpoint has."""

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["logits"]

    def labels(self) -> list[str] | None:
        """The names of Kinetics-400; None for a user's own classes."""
        names = kinetics_labels()
        return names if self.num_classes == len(names) else None

    @staticmethod
    def eval_datasets() -> list[str]:
        """The Kinetics-400 validation clips."""
        return ["kinetics400"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """A part of the validation clips that no score is taken on."""
        return "kinetics400"

    @classmethod
    def get_evaluator(cls) -> type[ClassificationEvaluator]:
        """Top-1."""
        return ClassificationEvaluator


class TorchvisionVideoClassifier(VideoClassifier):
    """A video classifier of torchvision. Subclasses set the class variables.

    Args:
        network: The torchvision network; takes normalised RGB, gives logits.
    """

    model_id: ClassVar[str]
    #: The torchvision function; `staticmethod`, or it would be taken for a method.
    builder: ClassVar[Callable[..., nn.Module]]
    #: The published checkpoints.
    published: ClassVar[type[WeightsEnum]]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize(KINETICS_MEAN, KINETICS_STD, axes=3)
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load a published checkpoint, or your own with any number of classes.

        Args:
            weights: DEFAULT, the name of a torchvision checkpoint (e.g. KINETICS400_V1), the path of a checkpoint whose
                names are those of torchvision, or `random`.
        """
        path = resolve_weights(weights, cls.model_id, published_files(cls.published), cls.published.DEFAULT.name)
        if path is not None:
            return cls(read_network(cls.builder, path)).eval()
        with seeded():
            model = cls(cls.builder()).eval()
            estimate_batch_norm(model, varied_clips(2, 8, 64))
        return model

    @property
    def num_classes(self) -> int:
        """How many classes there are: 400, or what the user's checkpoint has."""
        return class_count(self.network)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """Classify clips.

        Args:
            video: RGB [B, 3, T, H, W] in 0..1.

        Returns:
            Logits [B, classes].
        """
        logits: torch.Tensor = self.network(self.normalize(video))
        return logits

    @staticmethod
    def get_input_spec(batch_size: int = 1, frames: int = 16, height: int = 112, width: int = 112) -> InputSpec:
        """One clip.

        Args:
            batch_size: Clips in one call.
            frames: Pictures in a clip, at least 8.
            height: Height of the pictures in pixels, at least 16.
            width: Width of the pictures in pixels, at least 16.
        """
        if frames < MIN_FRAMES or min(height, width) < MIN_SIZE:
            raise UserError(
                f"frames {frames}, height {height}, width {width}: the network needs at least {MIN_FRAMES} frames of "
                f"{MIN_SIZE} x {MIN_SIZE} pixels"
            )
        return {"video": clip_spec(batch_size, frames, height, width)}


def clip_spec(batch_size: int, frames: int, height: int, width: int) -> TensorSpec:
    """A clip as all models of the zoo take it: RGB, float32 in 0..1, [batch, 3, frames, height, width]."""
    return TensorSpec((batch_size, 3, frames, height, width), value_range=(0.0, 1.0))


def varied_clips(count: int, frames: int, size: int) -> torch.Tensor:
    """Random RGB clips [count, 3, frames, size, size] in 0..1: each moves from one picture to another."""
    first, last = varied_pictures(2 * count, size).chunk(2)
    shares = torch.linspace(0, 1, frames)[:, None, None]
    return first[:, :, None] * (1 - shares) + last[:, :, None] * shares
