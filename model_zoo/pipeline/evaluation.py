"""The result of an evaluation, as values and as rows of tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import pydantic

from model_zoo.evaluators.base import Metric, Score
from model_zoo.pipeline.auto_precision import Search
from model_zoo.pipeline.options import Backend
from model_zoo.pipeline.plan import Plan
from model_zoo.utils.console import json_value
from model_zoo.utils.errors import ModelZooError


class DropError(ModelZooError):
    """A backend loses more against torch than is accepted."""


class Drop(pydantic.BaseModel, frozen=True):
    """What a backend lost against torch.

    Args:
        value: In the unit of the metric; negative: it is better than torch.
        samples: Number of samples that both took, on which it is computed.
        interval: 95 % confidence, from both on the same resamples; None if the samples do not show one.
    """

    value: float
    samples: int
    torch: float
    backend: float = pydantic.Field(serialization_alias="place")
    interval: tuple[float, float] | None
    torch_details: dict[str, float] = {}


class BackendResult(pydantic.BaseModel, frozen=True):
    """The scores of one backend.

    Args:
        drop: None for torch, and if torch was not scored.
        agreement: Mean percent of a sample's answer that is as in torch; None as for `drop`.
        seconds_per_sample: Seconds in one process. On the emulator they say nothing about a device.
        samples_per_second: Of all processes together.
        chunks_cached: Number of chunks that an earlier run had finished.
    """

    backend: Backend = pydantic.Field(serialization_alias="place")
    score: Score
    resamples: int
    drop: Drop | None
    agreement: float | None
    seconds_per_sample: float
    samples_per_second: float
    workers: int
    chunks: int
    chunks_cached: int = pydantic.Field(serialization_alias="chunks_found")

    def to_json(self) -> dict[str, Any]:
        return {**self.model_dump(by_alias=True), "measured_in": self.backend.label}


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured.

    Args:
        results: By backend, in the order of `Backend`.
        max_drop: The largest drop that is accepted, in the unit of the metric.
        subset: Why the emulator took as many samples as it did; empty if it took none.
        searches: By component, how its automatic precision was found.
    """

    plan: Plan
    dataset: str
    seed: int
    metric: Metric
    results: dict[Backend, BackendResult]
    max_drop: float
    host: str
    test_samples: int
    subset: str
    page_error: ModelZooError | None = None
    searches: dict[str, Search] = field(default_factory=dict)

    @property
    def error(self) -> ModelZooError | None:
        """What went wrong: a drop, else the page; None if nothing."""
        return self.drop_error or self.page_error

    @property
    def drop_error(self) -> DropError | None:
        """Names the backends that lost more than `max_drop`; None if none did."""
        unit, losses, doubts = self.metric.unit, [], []
        for backend, result in self.results.items():
            if result.drop is None or result.drop.value <= self.max_drop:
                continue
            losses.append(f"{amount(result.drop.value, unit)} {self.metric.name} on the {backend.label}")
            interval = result.drop.interval
            if interval is None or interval[0] <= self.max_drop:
                doubts.append(f"{backend.label} ({span(interval, unit) if interval else 'none'})")
        if not losses:
            return None
        doubt = f"; the 95 % interval does not rule out that it is within: {', '.join(doubts)}" if doubts else ""
        name, precision = self.plan.source.name, self.plan.precision_name
        lost = f"{name} in {precision} loses {' and '.join(losses)}"
        return DropError(
            f"{lost}, more than the {amount(self.max_drop, unit)} that may be lost{doubt}",
            f"try another `precision`, more num_calibration_samples, or `model-zoo sensitivity {name}` for "
            "the layers that suffer; max_drop=inf only reports it",
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is infinite is text, since JSON has no number for it.

        "passed" is null if nothing was compared with torch.
        """
        compared = any(result.drop for result in self.results.values())
        fields = {
            "plan": self.plan.to_json(),
            "searches": {name: search.to_json() for name, search in self.searches.items()},
            "dataset": self.dataset,
            "test_samples": self.test_samples,
            "seed": self.seed,
            "metric": asdict(self.metric),
            "places": {str(backend): result.to_json() for backend, result in self.results.items()},
            "subset": self.subset,
            "max_drop": self.max_drop,
            "passed": self.drop_error is None if compared else None,
            "error": self.error.message if self.error else None,
            "host": self.host,
        }
        return {name: json_value(value) for name, value in fields.items()}


def amount(value: float, unit: str) -> str:
    text = f"{value:.2f}" if unit else f"{value:.4f}"
    return f"{text} {unit}".strip()


def span(interval: tuple[float, float] | None, unit: str) -> str:
    if interval is None:
        return "-"
    digits = 2 if unit else 4
    return f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def table_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The main table: its columns and rows."""
    metric = evaluation.metric
    drops = ["drop against torch [95 % interval]", "agreement with torch"]
    columns = ["where", f"{metric.name} [95 % interval]", *drops, "samples"]
    rows = []
    for backend, result in evaluation.results.items():
        value = f"{amount(result.score.value, metric.unit)} [{span(result.score.interval, metric.unit)}]"
        drop, agreement = "-", "-"
        if result.drop:
            drop = f"{amount(result.drop.value, metric.unit)} [{span(result.drop.interval, metric.unit)}]"
            if result.drop.samples < evaluation.results[Backend.TORCH].score.samples:
                of_both = f"on the {result.drop.samples} samples of both"
                drop += f"\n{of_both}, torch {amount(result.drop.torch, metric.unit)}"
        if result.agreement is not None:
            agreement = f"{result.agreement:.2f} %"
        rows.append([backend.label, value, drop, agreement, str(result.score.samples)])
    return columns, rows


def detail_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Further figures by backend, and how they differ from torch's on the same samples: its columns and rows."""
    names = list(dict.fromkeys(name for result in evaluation.results.values() for name in result.score.details))
    rows = []
    for backend, result in evaluation.results.items():
        speed = _speed(result) if backend is Backend.EMULATOR else "-"
        rows.append([backend.label, *(_detail(result, name) for name in names), speed])
    return ["where (change from torch)", *names, "emulator's speed on this machine's CPU"], rows


def _detail(result: BackendResult, name: str) -> str:
    if name not in result.score.details:
        return "-"
    value, torch = result.score.details[name], result.drop.torch_details.get(name) if result.drop else None
    return f"{value:.4g}" if torch is None else f"{value:.4g} ({value - torch:+.3g})"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _speed(result: BackendResult) -> str:
    each = f"{result.seconds_per_sample:.3g} s a sample, {result.workers} at once"
    return f"{result.samples_per_second:.3g} samples/s ({each}); says nothing about a device"
