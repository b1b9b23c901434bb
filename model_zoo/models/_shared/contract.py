"""What every model of the zoo holds to. Each generated test file asks it of one model, at a small input size."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model_zoo.base.collection import components_of
from model_zoo.base.flags import signature_flags
from model_zoo.base.model import BaseModel, run_torch
from model_zoo.base.registry import code_gen, load_app_class, load_model_class, load_random_model, model_ids, model_info
from model_zoo.base.spec import Arrays, InputSpec, check_arrays
from model_zoo.models._shared.odd_inputs import ODD_INPUTS, check_odd_inputs
from model_zoo.utils.errors import UserError

#: Heights and widths to try, until the model takes one.
SMALL_SIZES = (64, 96, 128, 160, 192, 224)
#: Tokens of a small text.
SMALL_LENGTH = 16


@dataclass(frozen=True)
class ComponentSample:
    """One component with random weights, one small sample and what comes out of it."""

    component: BaseModel
    spec: InputSpec
    sample: Arrays
    outputs: Arrays


Samples = dict[str, ComponentSample]


class ModelContract:
    """Subclass with a `model_id`; every test is inherited."""

    model_id: ClassVar[str]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def few_layers(cls) -> Iterator[None]:
        """Large models say how they are reduced: nothing that is asked here depends on the number of layers."""
        with getattr(load_model_class(cls.model_id), "reduced", nullcontext)():
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def parts(cls) -> Samples:
        """The components that have a source."""
        return component_samples(cls.model_id)

    def test_yaml_files_are_valid(self) -> None:
        unknown = set(model_info(self.model_id).related_models) - set(model_ids())
        assert not unknown, f"info.yaml: related_models are not in this zoo: {sorted(unknown)}"
        code_gen(self.model_id)

    def test_every_argument_is_a_documented_flag(self) -> None:
        model_class = load_model_class(self.model_id)
        functions = [getattr(model_class, name, None) for name in ("from_pretrained", "get_input_spec")]
        flags = [flag for function in functions if function for flag in signature_flags(function, model_class)]
        bare = [flag.name for flag in flags if not flag.help]
        assert not bare, f"arguments without a word in the docstring's Args: {bare}"

    def test_interface_is_named(self, parts: Samples) -> None:
        for part in parts.values():
            names = [*part.spec, *part.outputs]
            assert len(set(names)) == len(names), f"names are not unique: {names}"
            assert all(name.isidentifier() for name in names), f"names must be like Python's: {names}"
            assert list(part.outputs) == part.component.get_output_names()

    def test_sample_fits_spec(self, parts: Samples) -> None:
        for name, part in parts.items():
            check_arrays(part.sample, part.spec, f"sample of {name}")

    def test_channel_last_names_exist(self, parts: Samples) -> None:
        for part in parts.values():
            inputs = {name for name, tensor in part.spec.items() if len(tensor.shape) == 4}
            outputs = {name for name, value in part.outputs.items() if value.ndim == 4}
            assert set(part.component.get_channel_last_inputs()) <= inputs, "not an input with four dimensions"
            assert set(part.component.get_channel_last_outputs()) <= outputs, "not an output with four dimensions"

    def test_outputs_are_finite(self, parts: Samples) -> None:
        for part in parts.values():
            for name, value in part.outputs.items():
                assert np.isfinite(value).all(), f"'{name}' holds NaN or infinite values"

    def test_evaluation_mode_is_deterministic(self, parts: Samples) -> None:
        for part in parts.values():
            assert not part.component.training, "from_pretrained must return the model in evaluation mode"
            assert_equal(part.outputs, run(part.component, part.sample), "a second run gives other outputs")

    @pytest.mark.slow
    def test_random_weights_are_seeded(self, parts: Samples) -> None:
        for name, part in component_samples(self.model_id).items():
            assert_equal(parts[name].outputs, part.outputs, "weights='random' gives other weights each time")

    @pytest.mark.slow
    def test_own_weights_load_back(self, parts: Samples, tmp_path: Path) -> None:
        model_class = load_model_class(self.model_id)
        if not issubclass(model_class, BaseModel):
            pytest.skip("the parts of a collection load their weights on their own")
        part = parts[self.model_id]
        trained = copy.deepcopy(part.component)  # differs from what `random` gives
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.mul_(0.9)
        path = tmp_path / "weights.safetensors"
        save_file({key: value.contiguous().clone() for key, value in trained.state_dict().items()}, path)
        loaded = model_class.from_pretrained(weights=str(path))
        message = "from_pretrained(weights=PATH) with the model's own state dict gives other outputs"
        assert_equal(run(trained, part.sample), run(loaded, part.sample), message)

    def test_app_answers_or_says_why_not(self, parts: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = parts[self.model_id].component if self.model_id in parts else load_random_model(self.model_id)
        for name, component in components_of(whole, self.model_id).items():
            if name in parts:  # as small as the sample
                monkeypatch.setattr(component, "input_spec", lambda spec=parts[name].spec: spec)
        predict = load_app_class(self.model_id)(whole).predict
        arguments = inspect.signature(predict).parameters.values()
        names = [each.name for each in arguments if each.default is inspect.Parameter.empty]
        if names[0] not in ODD_INPUTS:
            pytest.skip(f"predict takes '{names[0]}', of which no odd ones are known")
        check_odd_inputs(predict, names)

    def test_generated_files_are_in_step(self) -> None:
        from model_zoo.scripts.run_codegen import drift  # tests stand above all packages

        stale = list(drift(self.model_id))
        assert not stale, f"{stale}: run python model_zoo/scripts/run_codegen.py -m {self.model_id}"


def component_samples(model_id: str) -> Samples:
    """Run each component that has a source on one small sample."""
    parts = {}
    for name, component in components_of(load_random_model(model_id), model_id).items():
        if isinstance(component, BaseModel):
            spec = small_spec(component)
            sample = component.sample_inputs(spec)
            parts[name] = ComponentSample(component, spec, sample, run(component, sample))
    return parts


def small_spec(component: BaseModel) -> InputSpec:
    """The spec at the smallest of `SMALL_SIZES` that the model takes and its default is not below."""
    arguments = inspect.signature(component.get_input_spec).parameters
    if {"height", "width"} <= arguments.keys():
        default = min(arguments["height"].default, arguments["width"].default)
        for size in SMALL_SIZES:
            if size <= default:
                try:
                    return component.input_spec(height=size, width=size)
                except UserError:
                    continue
    if "sequence_length" in arguments:
        return component.input_spec(sequence_length=SMALL_LENGTH)
    return component.input_spec()


def run(component: BaseModel, sample: Arrays) -> Arrays:
    """The outputs by name."""
    return run_torch(component, sample, component.get_output_names())


def assert_equal(expected: Arrays, actual: Arrays, message: str) -> None:
    """Bit for bit."""
    for name, value in expected.items():
        assert np.array_equal(value, actual[name]), f"{message}: '{name}'"
