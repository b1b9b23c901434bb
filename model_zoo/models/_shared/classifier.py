"""What all classifiers share: a picture or something else in, ranked labels out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image

from model_zoo.models._shared.specs import known_spec
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.images import ImageSource, load_image


@dataclass(frozen=True)
class Prediction:
    """One class and how probable it is, 0..1."""

    label: str
    probability: float
    index: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class RankingApp(ABC):
    """Runs a classifier of anything.

    Args:
        model: Takes one tensor, gives logits [1, classes]: a model of the zoo, or one that `load_compiled` gave.
        labels: Names of the classes; default: the model's, or those of the task, or `class 0`, `class 1`, …
            where these do not fit.
    """

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor], labels: Sequence[str] | None = None) -> None:
        self.model = model
        own = getattr(model, "labels", None)
        labels = labels if labels is not None or own is None else own()
        self.labels = list(labels) if labels is not None else None

    def rank(self, inputs: torch.Tensor, top_k: int = 5) -> list[Prediction]:
        """The most probable classes of one sample, best first.

        Args:
            inputs: What the model takes, for one sample.
            top_k: How many classes to give at most.

        Raises:
            UserError: The labels do not fit the model.
            ModelZooError: The model gives something other than finite logits.
        """
        if top_k < 1:
            raise UserError(f"top_k is {top_k}, must be at least 1")
        with torch.inference_mode():
            logits = self.model(inputs)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[0] != 1:
            shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelZooError(f"a classifier gives logits [1, classes], this model gave {shape}")
        if not bool(torch.isfinite(logits).all()):
            raise ModelZooError("the model gave NaN or infinite logits")
        labels = self._labels_for(logits.shape[1])
        best = logits[0].float().softmax(dim=0).topk(min(top_k, len(labels)))
        ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [Prediction(labels[index], probability, index) for probability, index in ranked]

    @abstractmethod
    def default_labels(self) -> list[str]:
        """Class names of the task."""

    def _labels_for(self, classes: int) -> list[str]:
        if self.labels is None:
            default = self.default_labels()
            return default if len(default) == classes else [f"class {index}" for index in range(classes)]
        if len(self.labels) != classes:
            raise UserError(f"{len(self.labels)} labels were given, the model has {classes} classes")
        return self.labels


class ClassifierApp(RankingApp):
    """Runs a classifier on a picture; the model takes one image tensor."""

    @checked()
    def predict(self, image: ImageSource, top_k: int = 5) -> list[Prediction]:
        """Name what is in a picture.

        Args:
            image: A path, a PIL image of any mode, or an array; see `load_image`.
            top_k: How many classes to give at most.

        Returns:
            The most probable classes, best first.

        Raises:
            UserError: The picture cannot be read, or the labels do not fit the model.
            ModelZooError: The model gives something other than finite logits.
        """
        return self.rank(self.prepare(load_image(image)), top_k)

    @abstractmethod
    def prepare(self, picture: Image.Image) -> torch.Tensor:
        """The model's input tensor for an RGB picture."""


def image_size(model: object, default: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the first input of a model of the zoo or a compiled one; the default for other callables."""
    spec = known_spec(model)
    if not spec:
        return default
    height, width = next(iter(spec.values())).shape[2:4]
    return height, width
