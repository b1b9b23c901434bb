"""What the tests of every task share: the model with random weights, and its demo."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import pytest

from model_zoo.base.registry import load_model_class, load_random_model


class ModelTests:
    """Tests of one model. Subclass with a `model_id`."""

    model_id: ClassVar[str]

    @classmethod
    def model_class(cls) -> Any:
        """The class `Model` of the folder, which has more than every model has."""
        return load_model_class(cls.model_id)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> Any:
        """The model with random weights."""
        return load_random_model(cls.model_id)

    def run_demo(self, *flags: object) -> int:
        """Run the demo with random weights; returns its exit status."""
        status: int = importlib.import_module(f"model_zoo.models.{self.model_id}.demo").main(
            ["--weights", "random", *map(str, flags)]
        )
        return status
