"""What an evaluator is: outputs and targets in, one number out, with what is needed to trust it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pydantic

from model_zoo.base.spec import Arrays
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Metric:
    """What a figure of merit means.

    Args:
        name: E.g. "top-1".
        unit: E.g. "%"; empty for a plain number.
        low: Worst or smallest value it can take, in the unit.
        high: Largest.
        higher_is_better: Its direction.
        max_drop: The largest loss against torch that still counts as fine, in the unit, not negative. Ours are 1 point
            of a percentage (MLPerf lets a quantized model lose 1 %), 0.1 dB of PSNR and 0.01 of a relative error.
    """

    name: str
    unit: str
    low: float
    high: float
    higher_is_better: bool
    max_drop: float

    def drop(self, reference: float, value: float) -> float:
        """How much worse a value is than its reference, in the unit; negative: it is better."""
        return reference - value if self.higher_is_better else value - reference


class Score(pydantic.BaseModel, frozen=True):
    """A figure of merit.

    Args:
        name: E.g. "top-1".
        value: In the unit.
        unit: E.g. "%".
        samples: How many samples it was taken over.
        interval: 95 % confidence interval of the value, where it was worked out.
        details: Further figures of the same samples by name, in the unit where they do not say another.
    """

    name: str
    value: float
    unit: str
    higher_is_better: bool
    samples: int
    interval: tuple[float, float] | None = None
    details: dict[str, float] = {}


class UndefinedScoreError(ModelZooError):
    """These samples give the metric no value, e.g. pictures without a single object."""


class BaseEvaluator(ABC):
    """Collects batches; the same class scores torch, host and NPU outputs.

    It keeps a small record of each sample, never the outputs, so that memory stays bounded, any subset can be scored
    (a bootstrap scores hundreds), and what was collected can be stored and taken up again.
    """

    metric: ClassVar[Metric]
    #: What is recorded: by name an empty array of its dtype and row shape, where 0 is any size. The first of them holds
    #: one row for each sample.
    record: ClassVar[Arrays]
    #: Samples that are only scored together stand side by side, this many; subsets hold all of them or none.
    group_size: ClassVar[int] = 1
    #: Axes of a target that is an array: an array with one more holds those of a batch.
    target_axes: ClassVar[int] = 0
    #: Subsets that a bootstrap scores; fewer where scoring one is dear.
    resamples: ClassVar[int] = 1000

    def __init__(self) -> None:
        self._batches: list[Arrays] = []
        self._count = 0

    def add(self, outputs: Arrays, target: Any) -> None:
        """Take one batch.

        Args:
            outputs: By output name, batch first.
            target: One entry for each sample of the batch in a list or an array, or the single entry of a batch of one.

        Raises:
            UserError: The targets do not fit the model, e.g. a class that it does not have.
            ModelZooError: The outputs are not those of such a model, or not finite.
        """
        many = isinstance(target, (list, tuple)) or np.ndim(target) > self.target_axes
        self._take(**self.records(outputs, list(target) if many else [target]))

    @abstractmethod
    def records(self, outputs: Arrays, targets: list[Any]) -> Arrays:
        """The record of one batch, with the names and dtypes of `record`."""

    def __len__(self) -> int:
        """How many samples were taken."""
        return self._count

    def value(self, chosen: np.ndarray | None = None) -> float:
        """The metric, in its unit.

        Args:
            chosen: Indices of the samples to score, int [N], with repeats; if None, each once.

        Raises:
            ModelZooError: There is no sample.
            UndefinedScoreError: These samples give the metric no value.
        """
        chosen = np.arange(len(self)) if chosen is None else chosen
        if not len(chosen):
            raise ModelZooError(f"{self.metric.name} needs at least one sample")
        return self._value(chosen)

    def _value(self, chosen: np.ndarray) -> float:
        """The metric of at least one sample; by default the mean of their own figures."""
        return float(self.sample_values()[chosen].mean())

    def sample_values(self) -> np.ndarray:
        """A figure for each sample alone, float [N], in the direction of the metric: ranks the best and the worst.

        By default what is recorded first.
        """
        return self.recorded()[next(iter(self.record))].astype(np.float64)

    def state(self) -> Arrays:
        """What was collected, as arrays that an .npz can hold."""
        return {"evaluator": np.array(type(self).__name__), **self.recorded()}

    def restore(self, state: Arrays) -> None:
        """Add what another evaluator of this class collected.

        Raises:
            ModelZooError: It was another class, or the state is damaged.
        """
        name, arrays = type(self).__name__, dict(state)
        if (other := str(arrays.pop("evaluator", "nothing known"))) != name:
            raise ModelZooError(f"a state of {other} is no state of {name}", "delete the stored state and start again")
        # Rows have the sizes of those already there, e.g. of classes; a state of no sample does not know them.
        likes = self.recorded() if len(next(iter(arrays.values()), ())) else self.record
        alike = arrays.keys() == likes.keys() and all(_alike(arrays[key], like) for key, like in likes.items())
        if not (alike and self._consistent(arrays)):
            raise ModelZooError(f"the stored state of {name} is damaged", "delete it and start again")
        self._take(**arrays)

    def _take(self, **arrays: np.ndarray) -> None:
        """Keep the record of one batch."""
        if rows := len(arrays[next(iter(self.record))]):
            self._batches.append(arrays)
            self._count += rows

    def recorded(self) -> Arrays:
        """The records of all samples, each an array over all batches."""
        if len(self._batches) > 1:
            self._batches = [{key: np.concatenate([batch[key] for batch in self._batches]) for key in self.record}]
        return self._batches[0] if self._batches else self.record

    def _consistent(self, arrays: Arrays) -> bool:
        """Whether records fit together; here each has one row for each sample."""
        return len({len(array) for array in arrays.values()}) == 1

    @classmethod
    @abstractmethod
    def agreement(cls, outputs: Arrays, reference: Arrays) -> np.ndarray:
        """How far two backends give the same answer, whatever the target: percent, float [B], one for each sample.

        Args:
            outputs: By output name, batch first.
            reference: The same samples' outputs in torch.
        """

    def details(self) -> dict[str, float]:
        """Further figures by name, e.g. top-5 beside top-1."""
        return {}

    def score(self) -> Score:
        """The score of all samples so far.

        Raises:
            ModelZooError: There was none.
        """
        metric = self.metric
        return Score(
            name=metric.name,
            value=self.value(),
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            samples=len(self),
            details=self.details(),
        )

    @classmethod
    def draw_outputs(cls, picture: Image.Image, outputs: Arrays) -> Image.Image | None:
        """The answer of a backend to one sample, drawn over its input; None if that is no picture.

        Args:
            picture: The sample's input as it is seen by the model.
            outputs: Of a batch of one.
        """
        return None

    @classmethod
    def draw_target(cls, picture: Image.Image, target: Any) -> Image.Image | None:
        """The right answer for one sample, drawn in the same way."""
        return None


def _alike(array: np.ndarray, like: np.ndarray) -> bool:
    """Whether an array can be a record: finite, of this dtype, its rows of this shape."""
    return (
        array.dtype == like.dtype
        and array.ndim == like.ndim
        and all(wanted in (0, size) for wanted, size in zip(like.shape[1:], array.shape[1:], strict=True))
        and bool(np.isfinite(array).all())
    )


def one_output(outputs: Arrays, *axes: str, batch: int | None = None, before: int | None = None) -> np.ndarray:
    """The output of a model that has but one.

    Args:
        axes: What its axes after the batch are, e.g. "classes", "height"; a number is its size, e.g. "4".
        batch: How many samples it must hold.
        before: How many samples went before, for the message.

    Raises:
        ModelZooError: There is another number of outputs, of dimensions, or of samples, or values are not finite.
    """
    if len(outputs) != 1:
        raise ModelZooError(f"such a model has one output, got {', '.join(outputs) or 'none'}")
    name = next(iter(outputs))
    return named_output(outputs, name, *axes, batch=batch, before=before)


def named_output(
    outputs: Arrays, name: str, *axes: str, batch: int | None = None, before: int | None = None
) -> np.ndarray:
    """One of several outputs, which must be there; as `one_output`."""
    if name not in outputs:
        raise ModelZooError(f"the outputs lack '{name}', got {', '.join(outputs) or 'none'}")
    values = outputs[name]
    wanted = f"[{', '.join([str(batch or 'batch'), *axes])}]"
    if (
        values.ndim != 1 + len(axes)
        or values.size == 0
        or batch not in (None, len(values))
        or any(axis.isdigit() and int(axis) != size for axis, size in zip(axes, values.shape[1:], strict=True))
    ):
        raise ModelZooError(f"'{name}' must be {wanted}, got {list(values.shape)}")
    if not np.isfinite(values).all():
        where = "" if before is None else f" after {before} samples"
        raise ModelZooError(f"'{name}' holds NaN or infinite values{where}")
    return values


def resized(planes: np.ndarray, size: tuple[int, ...], mode: Literal["bilinear", "nearest"] = "bilinear") -> np.ndarray:
    """Planes [C, h, w] brought to [C, H, W], as float32; as they are where they have the size."""
    if planes.shape[1:] == size:
        return planes
    from torch import from_numpy
    from torch.nn.functional import interpolate

    return np.asarray(interpolate(from_numpy(planes.astype(np.float32))[None], size, mode=mode)[0])
