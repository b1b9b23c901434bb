"""A small convolutional network for handwritten digits, trained on what scikit-learn carries."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from torch import nn

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import ColorOrder, InputSpec, IoType, TensorSpec
from model_zoo.base.weights import resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.evaluators.classification import ClassificationEvaluator
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.reference import REFERENCE, reference_files

FOLDER = Path(__file__).resolve().parent


class Model(BaseModel):
    """Three convolutions and a linear layer: 19 thousand parameters, 0.5 million multiply-adds."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(32 * 4 * 4, 10)

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the weights that come with the package, or others.

        Args:
            weights: DEFAULT or `reference` (both: in the package, trained by train.py), the path of a checkpoint, or
                `random`.
        """
        path = resolve_weights(weights, "digits_cnn", reference_files(FOLDER), REFERENCE)
        with seeded():
            model = cls()
        if path is not None:
            load_strict(model, read_state_dict(path), str(path))
        return model.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify pictures.

        Args:
            image: [B, 1, 8, 8] in 0..1, ink bright on black.

        Returns:
            Logits [B, 10], one for each digit.
        """
        return self.classifier(self.features(image).flatten(1))

    @staticmethod
    def get_input_spec(batch_size: int = 1) -> InputSpec:
        """One grey picture.

        Args:
            batch_size: Pictures in one call.
        """
        image = TensorSpec((batch_size, 1, 8, 8), "float32", IoType.IMAGE, (0.0, 1.0), ColorOrder.GRAY)
        return {"image": image}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["logits"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """What the NPU takes channel-last."""
        return ["image"]

    @staticmethod
    def labels() -> list[str]:
        """The digits."""
        return [str(digit) for digit in range(10)]

    @staticmethod
    def eval_datasets() -> list[str]:
        """360 held-out digits."""
        return ["digits"]

    @staticmethod
    def calibration_dataset_name() -> str:
        """The digits it was trained on."""
        return "digits"

    @classmethod
    def get_evaluator(cls) -> type[ClassificationEvaluator]:
        """Top-1."""
        return ClassificationEvaluator
