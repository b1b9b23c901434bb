"""What an evaluation found, as values and as tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from model_zoo.evaluators.base import Metric, Score
from model_zoo.pipeline.backends import Backend
from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.search import Search
from model_zoo.utils.console import json_value
from model_zoo.utils.errors import ModelZooError


class DropError(ModelZooError):
    """A place loses more against torch than may be."""


@dataclass(frozen=True)
class Drop:
    """What a place lost against torch.

    Args:
        value: In the unit of the metric; negative: it is better than torch.
        samples: Those that both took, which it is worked out on.
        torch: Torch's value on these samples.
        place: The place's.
        interval: 95 % confidence, from both places on the same resamples; None: the samples do not show one.
        torch_details: Torch's further figures on these samples.
    """

    value: float
    samples: int
    torch: float
    place: float
    interval: tuple[float, float] | None
    torch_details: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Drop:
        """Read back what `to_json` gave."""
        return cls(**{**fields, "interval": tuple(fields["interval"]) if fields["interval"] else None})


@dataclass(frozen=True)
class BackendResult:
    """One place.

    Args:
        score: With its interval.
        resamples: How many the intervals were taken over.
        drop: None: it is torch, or torch was not scored.
        agreement: Mean percent of a sample's answer that is as in torch; None as for `drop`.
        seconds_per_sample: In one process. On the emulator it says nothing about a device.
        samples_per_second: Of all processes together.
        workers: Processes at once.
        chunks: How many it took.
        chunks_found: Those that an earlier run had finished.
    """

    place: Backend
    score: Score
    resamples: int
    drop: Drop | None
    agreement: float | None
    seconds_per_sample: float
    samples_per_second: float
    workers: int
    chunks: int
    chunks_found: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "score": self.score.to_json(), "measured_in": self.place.label}


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found.

    Args:
        places: In the order of `Backend`.
        max_drop: The largest drop that is accepted, in the unit of the metric.
        host: The CPU that everything here ran on.
        test_samples: What the dataset's test set holds.
        subset: Why the emulator took as many samples as it did; empty: it took none.
        page_error: Why the page that was asked for could not be made.
        searches: By component, how its automatic precision was found.
    """

    plan: Plan
    dataset: str
    seed: int
    metric: Metric
    places: dict[Backend, BackendResult]
    max_drop: float
    host: str
    test_samples: int
    subset: str
    page_error: ModelZooError | None = None
    searches: dict[str, Search] = field(default_factory=dict)

    @property
    def error(self) -> ModelZooError | None:
        """What went wrong: a drop, else the page; None: nothing."""
        return self.drop_error or self.page_error

    @property
    def drop_error(self) -> DropError | None:
        """Says which places lost more than `max_drop`; None: none did."""
        unit, told, doubts = self.metric.unit, [], []
        for place, found in self.places.items():
            if found.drop is None or found.drop.value <= self.max_drop:
                continue
            told.append(f"{amount(found.drop.value, unit)} {self.metric.name} on the {place.label}")
            if found.drop.interval is None or found.drop.interval[0] <= self.max_drop:
                doubts.append(f"{place.label} ({span(found.drop.interval, unit) if found.drop.interval else 'none'})")
        if not told:
            return None
        doubt = f"; the 95 % interval does not rule out that it is within: {', '.join(doubts)}" if doubts else ""
        name, precision = self.plan.source.name, self.plan.precision_name
        lost = f"{name} in {precision} loses {' and '.join(told)}"
        return DropError(
            f"{lost}, more than the {amount(self.max_drop, unit)} that may be lost{doubt}",
            f"try another `precision`, more num_calibration_samples, or `model-zoo sensitivity {name}` for "
            "the layers that suffer; max_drop=inf only reports it",
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is infinite is text, since JSON has no number for it.

        "passed" is null where no place was compared with torch.
        """
        judged = any(found.drop for found in self.places.values())
        made = {
            "plan": self.plan.to_json(),
            "searches": {name: search.to_json() for name, search in self.searches.items()},
            "dataset": self.dataset,
            "test_samples": self.test_samples,
            "seed": self.seed,
            "metric": asdict(self.metric),
            "places": {str(place): found.to_json() for place, found in self.places.items()},
            "subset": self.subset,
            "max_drop": self.max_drop,
            "passed": self.drop_error is None if judged else None,
            "error": self.error.message if self.error else None,
            "host": self.host,
        }
        return {name: json_value(value) for name, value in made.items()}


def amount(value: float, unit: str) -> str:
    """A figure with its unit."""
    text = f"{value:.2f}" if unit else f"{value:.4f}"
    return f"{text} {unit}".strip()


def span(interval: tuple[float, float] | None, unit: str) -> str:
    """An interval for people."""
    if interval is None:
        return "-"
    digits = 2 if unit else 4
    return f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def table_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The main table: its columns and rows."""
    metric = evaluation.metric
    columns = [
        "where",
        f"{metric.name} [95 % interval]",
        "drop against torch [95 % interval]",
        "agreement with torch",
        "samples",
    ]
    rows = []
    for place, found in evaluation.places.items():
        value = f"{amount(found.score.value, metric.unit)} [{span(found.score.interval, metric.unit)}]"
        drop, agreement = "-", "-"
        if found.drop:
            drop = f"{amount(found.drop.value, metric.unit)} [{span(found.drop.interval, metric.unit)}]"
            if found.drop.samples < evaluation.places[Backend.TORCH].score.samples:
                drop += f"\non the {found.drop.samples} samples of both, torch {amount(found.drop.torch, metric.unit)}"
        if found.agreement is not None:
            agreement = f"{found.agreement:.2f} %"
        rows.append([place.label, value, drop, agreement, str(found.score.samples)])
    return columns, rows


def detail_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Further figures by place, and how they differ from torch's on the same samples: its columns and rows."""
    names = list(dict.fromkeys(name for found in evaluation.places.values() for name in found.score.details))
    rows = []
    for place, found in evaluation.places.items():
        rows.append(
            [
                place.label,
                *(_detail(found, name) for name in names),
                _speed(found) if place is Backend.EMULATOR else "-",
            ]
        )
    return ["where (change from torch)", *names, "emulator's speed on this machine's CPU"], rows


def _detail(found: BackendResult, name: str) -> str:
    if name not in found.score.details:
        return "-"
    value, torch = found.score.details[name], found.drop.torch_details.get(name) if found.drop else None
    return f"{value:.4g}" if torch is None else f"{value:.4g} ({value - torch:+.3g})"


def duration(seconds: float) -> str:
    """A time for people."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _speed(found: BackendResult) -> str:
    each = f"{found.seconds_per_sample:.3g} s a sample, {found.workers} at once"
    return f"{found.samples_per_second:.3g} samples/s ({each}); says nothing about a device"
