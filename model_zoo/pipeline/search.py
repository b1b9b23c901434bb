"""What an automatic precision is scored on, and what its search found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from model_zoo.evaluators.base import Score
from model_zoo.toolchains.base import Assignment


@dataclass(frozen=True)
class SearchPlan:
    """What an automatic precision is scored on.

    Args:
        dataset: Its calibration split serves: the test split stays unseen.
        seed: Another than that of the samples which set the ranges; some may still be the same.
        max_drop: Against torch, in the unit of the metric; None: what the evaluator counts as fine.
    """

    dataset: str
    samples: int
    seed: int
    max_drop: float | None


@dataclass(frozen=True)
class Cost:
    """Bytes of all weights, and of all activations of one run that can have 8 or 16 bits."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Both."""
        return self.weights + self.activations


@dataclass(frozen=True)
class Candidate:
    """An assignment that was quantized and scored on the host CPU.

    Args:
        drop: Against torch on the same samples, in the unit of the metric.
    """

    assignment: Assignment
    cost: Cost
    score: Score
    drop: float


@dataclass(frozen=True)
class Search:
    """How an assignment was found.

    Args:
        planned: What it was scored on.
        max_drop: How much it may lose against torch, in the unit of the metric.
        tried: In the order in which they were.
        chosen: The cheapest of them that keeps the metric.
        weights: How many there are.
        activations: How many there are.
        references: What well-known precisions cost, by name.
    """

    planned: SearchPlan
    max_drop: float
    torch: Score
    tried: tuple[Candidate, ...]
    chosen: Candidate
    weights: int
    activations: int
    references: dict[str, Cost]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        tried = [{"cost": asdict(c.cost), "score": c.score.model_dump(), "drop": c.drop} for c in self.tried]
        return {
            "scored_on": asdict(self.planned),
            "max_drop": self.max_drop,
            "torch": self.torch.model_dump(),
            "tried": tried,
            "chosen": {"cost": asdict(self.chosen.cost), "drop": self.chosen.drop, **asdict(self.chosen.assignment)},
            "references": {name: asdict(cost) for name, cost in self.references.items()},
        }
