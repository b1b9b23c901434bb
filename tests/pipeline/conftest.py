"""Models small enough to compile in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from model_zoo.base.collection import CollectionModel
from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.evaluators.base import BaseEvaluator
from model_zoo.evaluators.classification import ClassificationEvaluator
from model_zoo.pipeline.api import export


class Encoder(BaseModel):
    """A picture to eight features; channel-last in the file."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(image)).mean((2, 3))

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Encoder:
        return cls().eval()

    @staticmethod
    def get_input_spec() -> InputSpec:
        return {"image": TensorSpec((1, 3, 16, 16), io_type="image", value_range=(0.0, 1.0), color_order="rgb")}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["features"]

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        return ["image"]


class Decoder(BaseModel):
    """Eight features to scores, and the best of them."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.linear = torch.nn.Linear(8, 4)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.linear(features)
        return scores, scores.argmax(-1).int()

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Decoder:
        return cls().eval()

    @staticmethod
    def get_input_spec() -> InputSpec:
        return {"features": TensorSpec((1, 8), value_range=(0.0, 1.0))}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["scores", "best"]


class Pair(CollectionModel):
    """Two components, compiled one by one."""

    component_classes: ClassVar = {"encoder": Encoder, "decoder": Decoder}

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Pair:
        return cls({"encoder": Encoder.from_pretrained(), "decoder": Decoder.from_pretrained()})


class Digits(BaseModel):
    """An untrained classifier of 8 x 8 pictures."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.Linear(16, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Digits:
        return cls().eval()

    @staticmethod
    def get_input_spec() -> InputSpec:
        return {"image": TensorSpec((1, 1, 8, 8), io_type="image", value_range=(0.0, 1.0), color_order="gray")}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["logits"]

    @staticmethod
    def eval_datasets() -> list[str]:
        return ["digits"]

    @staticmethod
    def calibration_dataset_name() -> str | None:
        return "digits"

    @classmethod
    def get_evaluator(cls) -> type[BaseEvaluator] | None:
        return ClassificationEvaluator


@pytest.fixture
def encoder() -> Encoder:
    return Encoder.from_pretrained()


@pytest.fixture
def pair() -> Pair:
    return Pair.from_pretrained()


@pytest.fixture
def small_export(tmp_path: Path) -> Callable[..., Any]:
    """`export` into the test's folder, without timing, on 16 real samples."""
    samples = tmp_path / "samples.npz"
    generator = np.random.default_rng(0)
    np.savez(samples, image=generator.random((16, 3, 16, 16), dtype=np.float32))

    def run(model: Any, **arguments: Any) -> Any:
        settings = {"output_dir": tmp_path / "build", "skip_profiling": True, "name": "small", **arguments}
        if settings.get("precision", "float") != "float":
            settings.setdefault("calibration_data", samples)
        return export(model, **settings)

    return run
