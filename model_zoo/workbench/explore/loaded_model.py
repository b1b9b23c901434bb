"""A loaded model in the child process: run on named arrays, and measured layer by layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pydantic

from model_zoo.base.spec import Arrays
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.explore.figures import LayerCost, LayerCosts


@dataclass(frozen=True)
class ModelInput:
    """An input as the model declares it.

    Args:
        shape: Sizes, or names of those that the model leaves open.
        high: For integers, the number that values are below.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    high: int | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}{list(self.shape)}"


class DeclaredInputs(pydantic.BaseModel):
    """The inputs of a model in call order, and where they are declared."""

    inputs: tuple[ModelInput, ...]
    source: str


class LoadedFacts(pydantic.BaseModel):
    """What is known of a model once it is loaded.

    Args:
        runtime: What runs it, with its version.
        device: "cpu", "cuda" or "mps".
        threads: Threads of one operator, if the runtime tells.
        parameters: Elements of all weights, if the file tells.
        declared: Its inputs, if anything declares them.
        argument_names: Names of the inputs, also where their shapes are not declared.
    """

    runtime: str = ""
    device: str = ""
    threads: int | None = None
    parameters: int | None = None
    declared: DeclaredInputs | None = None
    argument_names: tuple[str, ...] = ()


class LoadedModel(Protocol):
    """A loaded model."""

    facts: LoadedFacts

    @abstractmethod
    def run(self, sample: Arrays) -> Arrays:
        """Run one forward pass and wait for its end."""

    @abstractmethod
    def layers(self, sample: Arrays, runs: int) -> LayerCosts:
        """Measure time and work of each layer over some forward passes."""

    @abstractmethod
    def write_onnx(self, sample: Arrays, file: Path) -> None:
        """Write it as ONNX of static shapes, for the NPU compiler; raises ModelZooError if it has no such form."""

    def guess_inputs(self) -> DeclaredInputs:
        """Find inputs that a forward pass takes, where nothing declares them."""
        raise ModelZooError("only a torch module leaves its inputs open")

    def accelerator_peak_mb(self) -> float | None:
        """Return the memory that was allocated on the accelerator at most."""
        return None


def layer_costs(how: str, runs: int, layers: Sequence[LayerCost], macs: int, counted: str) -> LayerCosts:
    """Describe all layers, each with its rounded share of the time; the multiply-accumulates are of the whole model."""
    total = sum(layer.ms or 0.0 for layer in layers)
    described = []
    for layer in layers:
        figures: dict[str, float] = {}
        if layer.ms is not None:
            figures["ms"] = round(layer.ms, 4)
        if layer.ms is not None and total:
            figures["share"] = round(100 * layer.ms / total, 1)
        if layer.macs is not None:
            figures["mmacs"] = round(layer.macs / 1e6, 3)
        described.append(layer.model_copy(update=figures))
    gmacs = round(macs / 1e9, 4)
    return LayerCosts(how=how, runs=runs, layers=tuple(described), macs=macs, gmacs=gmacs, counted=counted)
