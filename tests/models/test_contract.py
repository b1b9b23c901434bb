"""The contract really fails on models that break it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import torch

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import Arrays, InputSpec, image_spec
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared import contract
from model_zoo.models._shared.contract import ModelContract
from model_zoo.models._shared.odd_inputs import check_odd_inputs
from model_zoo.models._shared.random_weights import seeded
from model_zoo.utils.errors import ModelZooError, UserError


class Good(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Conv2d(3, 2, 3, padding=1)

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        with seeded():
            model = cls()
        if weights != "random":
            load_strict(model, read_state_dict(Path(weights)), weights)
        return model.eval()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.network(image)
        return maps, maps.amax(dim=(2, 3))

    @staticmethod
    def get_input_spec(height: int = 224, width: int = 224) -> InputSpec:
        """Sizes.

        Args:
            height: In pixels, a multiple of 96.
            width: In pixels, a multiple of 96.
        """
        if height % 96:
            raise UserError(f"height {height} is no multiple of 96")
        return {"image": image_spec(height, width)}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["maps", "scores"]

    @staticmethod
    def get_channel_last_outputs() -> list[str]:
        return ["maps"]


class Unseeded(Good):
    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        model = cls().eval()
        return model if weights == "random" else super().from_pretrained(weights)


class InTraining(Good):
    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        return super().from_pretrained(weights).train()


class Noisy(Good):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return super().forward(image + torch.rand(1))


class NotFinite(Good):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps, scores = super().forward(image)
        return maps, scores / 0


class IgnoresWeights(Good):
    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        return super().from_pretrained("random")


class SameNames(Good):
    @staticmethod
    def get_output_names() -> list[str]:
        return ["image", "scores"]


class OddName(Good):
    @staticmethod
    def get_output_names() -> list[str]:
        return ["maps/0", "scores"]


class OneName(Good):
    @staticmethod
    def get_output_names() -> list[str]:
        return ["maps"]


class NotFourDimensions(Good):
    @staticmethod
    def get_channel_last_outputs() -> list[str]:
        return ["scores"]


class OddSample(Good):
    def _sample_inputs_impl(self, spec: InputSpec, seed: int) -> Arrays:
        return {"image": np.zeros((1, 3, 96, 48), np.float32)}


class Undocumented(Good):
    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT", variant: str = "small") -> Self:
        return super().from_pretrained(weights)


class Needy(Good):
    @classmethod
    def from_pretrained(cls, weights: str) -> Self:  # no default
        return super().from_pretrained(weights)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[type[BaseModel], str], None]:
    """Put one question of the contract to a model class."""

    def ask(model_class: type[BaseModel], name: str) -> None:
        monkeypatch.setattr(contract, "load_model_class", lambda model_id: model_class)
        monkeypatch.setattr(
            contract, "load_random_model", lambda model_id: model_class.from_pretrained(weights="random")
        )
        case = ModelContract()
        case.model_id = "net"
        test = getattr(case, name)
        needs = test.__code__.co_varnames[1 : test.__code__.co_argcount]
        given = {"parts": lambda: contract.component_samples("net"), "tmp_path": lambda: tmp_path}
        test(**{need: given[need]() for need in needs})

    return ask


MODEL_TESTS = (
    "test_every_argument_is_a_documented_flag",
    "test_interface_is_named",
    "test_sample_fits_spec",
    "test_channel_last_names_exist",
    "test_outputs_are_finite",
    "test_evaluation_mode_is_deterministic",
    "test_random_weights_are_seeded",
    "test_own_weights_load_back",
)


@pytest.mark.parametrize("name", MODEL_TESTS)
def test_a_good_model_passes(ask: Callable[[type[BaseModel], str], None], name: str) -> None:
    # `weights` is documented by BaseModel: nothing is said twice.
    ask(Good, name)


@pytest.mark.parametrize(
    ("model_class", "name", "message"),
    [
        (Unseeded, "test_random_weights_are_seeded", "gives other weights each time: 'maps'"),
        (InTraining, "test_evaluation_mode_is_deterministic", "in evaluation mode"),
        (Noisy, "test_evaluation_mode_is_deterministic", "a second run gives other outputs"),
        (NotFinite, "test_outputs_are_finite", "'scores' holds NaN"),
        (IgnoresWeights, "test_own_weights_load_back", "state dict gives other outputs"),
        (SameNames, "test_interface_is_named", "names are not unique"),
        (OddName, "test_interface_is_named", "names must be like Python's"),
        (OneName, "test_interface_is_named", "the model gives 2 outputs, but names 1"),
        (NotFourDimensions, "test_channel_last_names_exist", "not an output with four dimensions"),
        (OddSample, "test_sample_fits_spec", "sample of net: 'image' is"),
        (Undocumented, "test_every_argument_is_a_documented_flag", r"docstring's Args: \['variant'\]"),
        (Needy, "test_every_argument_is_a_documented_flag", "'weights' has no default"),
    ],
)
def test_a_bad_model_fails(
    ask: Callable[[type[BaseModel], str], None], model_class: type[BaseModel], name: str, message: str
) -> None:
    with pytest.raises((AssertionError, ModelZooError), match=message):
        ask(model_class, name)


def test_the_size_is_the_smallest_that_fits() -> None:
    assert contract.small_spec(Good.from_pretrained("random"))["image"].shape == (1, 3, 96, 96)


class App:
    """Fails as apps fail that do not look at what they are given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def predict(self, text: str) -> str:
        if self.error and not text.strip():
            raise self.error
        return text


def test_an_app_answers_or_says_why_not() -> None:
    check_odd_inputs(App().predict, ["text"])
    check_odd_inputs(App(UserError("the text is empty")).predict, ["text"])
    with pytest.raises(AssertionError, match="text, empty: predict raised IndexError: no token"):
        check_odd_inputs(App(IndexError("no token")).predict, ["text"])
    with pytest.raises(AssertionError, match="several lines"):
        check_odd_inputs(App(UserError("the text\nis empty")).predict, ["text"])
