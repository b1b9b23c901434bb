"""BaseModel: what every model of the zoo is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from model_zoo.base.spec import Arrays, InputSpec, random_arrays
from model_zoo.utils.arguments import checked, checked_methods
from model_zoo.utils.errors import ModelZooError, first_line

if TYPE_CHECKING:
    from model_zoo.evaluators.base import BaseEvaluator
    from model_zoo.targets.chipset import Chipset
    from model_zoo.targets.precision import Precision
    from model_zoo.targets.runtime import TargetRuntime


class BaseModel(torch.nn.Module, ABC):
    """A network with a named interface. `forward` takes the inputs of the spec and returns the outputs, both in order.

    The signatures of `from_pretrained` and `get_input_spec` become command line flags, their docstrings the help:
    every argument has a type and a default.
    """

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        checked_methods(cls, "from_pretrained", "get_input_spec")

    @classmethod
    @abstractmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Build the model, in evaluation mode.

        Args:
            weights: DEFAULT, the path of a checkpoint, or `random`.
        """

    @staticmethod
    @abstractmethod
    def get_input_spec() -> InputSpec:
        """Names, shapes and meaning of the inputs."""

    @staticmethod
    @abstractmethod
    def get_output_names() -> list[str]:
        """Names of the outputs, in order."""

    def input_spec(self, **arguments: Any) -> InputSpec:
        """The spec for these arguments of `get_input_spec`, as this instance takes it."""
        return self.get_input_spec(**arguments)

    @checked()
    def sample_inputs(self, spec: InputSpec | None = None, seed: int = 0) -> Arrays:
        """One sample that fits the spec: real where the model brings one, noise otherwise."""
        return self._sample_inputs_impl(spec or self.input_spec(), seed)

    def _sample_inputs_impl(self, spec: InputSpec, seed: int) -> Arrays:
        """Override to return real sample inputs."""
        return random_arrays(spec, seed)

    @staticmethod
    def get_channel_last_inputs() -> list[str]:
        """Inputs that compiled files take as [batch, height, width, channels]; `onnx` keeps the layout of torch."""
        return []

    @staticmethod
    def get_channel_last_outputs() -> list[str]:
        """Outputs that compiled files return as [batch, height, width, channels]; `onnx` keeps the layout of torch."""
        return []

    def get_unsupported_reason(
        self, runtime: TargetRuntime, precision: Precision, chipset: Chipset | None
    ) -> str | None:
        """Why this model cannot be built for a target, or None."""
        return None

    def labels(self) -> list[str] | None:
        """Class names, written into metadata.json; None where there are none."""
        return None

    def tokenizer_path(self) -> Path | None:
        """The file that turns text into this model's token ids; None where it takes none, or none is known."""
        return None

    @staticmethod
    def eval_datasets() -> list[str]:
        """Names of the datasets the model can be scored on."""
        return []

    @classmethod
    def get_evaluator(cls) -> type[BaseEvaluator] | None:
        """Scores the outputs on `eval_datasets`."""
        return None

    @staticmethod
    def calibration_dataset_name() -> str | None:
        """The dataset whose samples set the ranges of a quantized build."""
        return None

    @staticmethod
    def get_16bit_outputs() -> list[str]:
        """Outputs that 8 bits are too coarse for, e.g. boxes in pixels.

        Builds with 8-bit activations for QNN and ONNX work them out in 16 bits, from the last convolution or matrix
        product on; plan and metadata.json say so.
        """
        return []

    @staticmethod
    def get_hub_litemp_percentage(precision: Precision) -> float:
        """Percent of the activations that a mixed precision keeps in 16 bit."""
        return 30.0


def call_torch(module: torch.nn.Module, inputs: Arrays, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, ...]:
    """Call a module on one sample, without gradients; returns its outputs, a single one as a tuple of one.

    Args:
        inputs: In call order.
        dtype: Floating point type that inputs are converted to.

    Raises:
        ModelZooError: It fails, or returns something other than tensors.
    """
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    if dtype is not None:
        tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
    with torch.inference_mode():
        try:
            outputs = module(*tensors)
        except (RuntimeError, TypeError, ValueError) as error:
            message = f"the model fails on inputs of its own spec ({shapes}): {first_line(error)}"
            raise ModelZooError(message) from error
    outputs = tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)
    if not all(isinstance(output, torch.Tensor) for output in outputs):
        kinds = ", ".join(type(output).__name__ for output in outputs)
        raise ModelZooError(f"the model gives {kinds}; it must give a tensor, or a tuple of tensors")
    return outputs


def run_torch(
    module: torch.nn.Module, inputs: Arrays, output_names: Sequence[str], dtype: torch.dtype | None = None
) -> Arrays:
    """Run one sample through torch, as `call_torch` does; returns the outputs by name.

    Args:
        dtype: Floating point type of module and inputs, float32 if None; outputs are float32 all the same.

    Raises:
        ModelZooError: The number of outputs is not that of the names.
    """
    outputs = call_torch(module, inputs, dtype)
    if len(outputs) != len(output_names):
        names = f"{len(output_names)}: {list(output_names)}"
        raise ModelZooError(f"the model gives {len(outputs)} outputs, but names {names}")
    plain = (value.float() if value.is_floating_point() else value for value in outputs)
    return {name: value.detach().cpu().numpy() for name, value in zip(output_names, plain, strict=True)}
