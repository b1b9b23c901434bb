"""What is explored, as the child process has it: loaded, run on named arrays, looked into layer by layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from model_zoo.base.spec import Arrays
from model_zoo.workbench.explore.figures import LayerCosts


@dataclass(frozen=True)
class ModelInput:
    """An input as the model declares it.

    Args:
        shape: Sizes, or names of those that the model leaves open.
        high: For integers: values are below this.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    high: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ModelInput:
        """Read back what `to_json` gave."""
        return cls(fields["name"], tuple(fields["shape"]), fields["dtype"], fields["high"])


class LoadedModel(Protocol):
    """A loaded model.

    Args:
        runtime: What runs it, with its version.
        device: "cpu", "cuda" or "mps".
        threads: Of one operator; None where the runtime does not say.
        parameters: Elements of all weights; None where the file does not tell.
        ports: RunInputs in call order; None where nothing declares them.
        ports_from: What told them.
    """

    runtime: str
    device: str
    threads: int | None
    parameters: int | None
    ports: list[ModelInput] | None
    ports_from: str

    @abstractmethod
    def run(self, sample: Arrays) -> Arrays:
        """ModelRun one forward pass and wait for its end."""

    @abstractmethod
    def layers(self, sample: Arrays, runs: int) -> LayerCosts:
        """Time and work of each layer, over some forward passes."""

    @abstractmethod
    def write_onnx(self, sample: Arrays, file: Path) -> None:
        """Write it as ONNX of static shapes, for the NPU compiler.

        Raises:
            ModelZooError: It has no such form.
        """

    def accelerator_peak_mb(self) -> float | None:
        """Memory that was allocated on the accelerator at most."""
        return None


def shared_layers(layers: Sequence[tuple[str, str, float | None, int | None, int]]) -> tuple[Any, ...]:
    """Layers with their share of the time, in order.

    Args:
        layers: Name, kind, milliseconds, MACs and parameters of each.
    """
    from model_zoo.workbench.explore.figures import LayerCost

    total = sum(ms for _, _, ms, _, _ in layers if ms is not None)
    return tuple(
        LayerCost(
            name=name,
            kind=kind,
            ms=None if ms is None else round(ms, 4),
            share=None if ms is None or not total else round(100 * ms / total, 1),
            macs=macs,
            mmacs=None if macs is None else round(macs / 1e6, 3),
            parameters=parameters,
        )
        for name, kind, ms, macs, parameters in layers
    )
