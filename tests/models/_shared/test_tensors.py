"""The app of a task without one of its own: arrays in and out by name, in torch and compiled."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.models._shared.tensors.app import TensorApp
from model_zoo.utils.errors import ModelZooError, UserError

ONE, TWO = np.ones((1, 3), np.float32), np.full((1, 3), 2, np.float32)


class Sums(BaseModel):
    """Two inputs, two outputs."""

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Sums:
        return cls().eval()

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, a - b

    @staticmethod
    def get_input_spec() -> InputSpec:
        return {"a": TensorSpec((1, 3)), "b": TensorSpec((1, 3))}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["sum", "difference"]


class Compiled(SimpleNamespace):
    """A compiled file, as `load_compiled` returns it."""

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return Sums()(*tensors)


@pytest.mark.parametrize(
    "model", [Sums(), Compiled(input_spec=Sums.get_input_spec(), output_names=Sums.get_output_names())]
)
def test_inputs_are_taken_by_name_in_any_order(model: object) -> None:
    outputs = TensorApp(model).predict(b=TWO, a=ONE)
    assert list(outputs) == ["sum", "difference"] and (outputs["difference"] == -1).all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="the sample"):
        TensorApp(Sums()).predict(a=ONE)
    with pytest.raises(UserError, match="the sample"):
        TensorApp(Sums()).predict(a=ONE, b=TWO[:, :2])
    with pytest.raises(ModelZooError, match="does not name its inputs"):
        TensorApp(lambda a: a)
