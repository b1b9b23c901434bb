"""What an evaluator is: outputs and targets in, one number out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

from model_zoo.base.spec import Arrays


@dataclass(frozen=True)
class Score:
    """A figure of merit.

    Args:
        name: E.g. "top-1".
        value: In the unit.
        unit: E.g. "%".
        samples: How many samples it was taken over.
    """

    name: str
    value: float
    unit: str
    higher_is_better: bool
    samples: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class BaseEvaluator(ABC):
    """Collects batches; the same class scores torch, host and NPU outputs."""

    @abstractmethod
    def add(self, outputs: Arrays, target: Any) -> None:
        """Take one batch.

        Args:
            outputs: By output name, batch first.
            target: One entry for each sample of the batch, or the single entry of a batch of one.
        """

    @abstractmethod
    def score(self) -> Score:
        """The score of all batches so far.

        Raises:
            ModelZooError: There was none.
        """
