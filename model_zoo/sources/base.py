"""What the pipeline asks of a source: where a network comes from, what is known of it, and the network itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from model_zoo.base.info import CodeGen
from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator
from model_zoo.sources.facts import ComponentFacts
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime

#: Packages whose versions shape what is captured of a network.
CAPTURE_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "numpy")


class Network(Protocol):
    """One loaded component."""

    def sample(self) -> tuple[Arrays, bool]:
        """One input, and whether it is data and not noise."""

    def run(self, samples: Sequence[Arrays], half: bool = False) -> list[Arrays]:
        """Compute the reference outputs of samples.

        Args:
            half: Compute in half precision; the outputs are float32 all the same.

        Raises:
            ModelZooError: It fails, e.g. at an operator that has no half precision here.
        """

    def capture(self, form: str, path: Path) -> None:
        """Write the network as a file.

        Args:
            form: "onnx", or "program" for an exported program.

        Raises:
            ModelZooError: It cannot be captured.
        """

    def evaluator(self) -> BaseEvaluator | None:
        """A new evaluator of the network's outputs; None if it has none."""


@runtime_checkable
class FindsJoins(Protocol):
    """A network that knows which of its outputs join parts."""

    def joins(self) -> dict[str, dict[int, list[int]]]:
        """By output that joins parts, e.g. boxes and scores, for each axis how long the parts on it are."""


@runtime_checkable
class Source(Protocol):
    """Where a network comes from; it is loaded only when a stage needs it.

    Args:
        name: Names the output folder and files.
        arguments: What the network was asked for with, by name, e.g. {"weights": "random"}.
        input_arguments: What its inputs were asked for with.
        code: By stage ("reference" or "capture"), the modules that the network runs in it besides its own.
    """

    name: str
    arguments: Mapping[str, Any]
    input_arguments: Mapping[str, Any]
    code: Mapping[str, tuple[str, ...]]

    @property
    def key(self) -> str:
        """Equal keys mean equal networks."""

    @property
    def limits(self) -> CodeGen:
        """What the network can be built for."""

    def facts(self) -> dict[str, ComponentFacts]:
        """Facts of each component by its name, in the order in which data flows."""

    def load(self, component: str, facts: ComponentFacts) -> Network:
        """A component, loaded once."""


@runtime_checkable
class HoldsAssets(Protocol):
    """A source with components that were compiled elsewhere."""

    def asset(self, component: str, runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> Path:
        """The compiled file of a component for a target.

        Raises:
            UserError: There is none.
        """
