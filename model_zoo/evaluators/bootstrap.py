"""How sure a score is: bootstrap intervals of a metric and of a drop, and how many samples an interval needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from model_zoo.evaluators.base import BaseEvaluator, UndefinedScoreError
from model_zoo.utils.errors import ModelZooError

#: Of every interval.
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A confidence interval, in the unit of the metric.

    Args:
        resamples: How many subsets it was taken over.
    """

    low: float
    high: float
    resamples: int


def interval(evaluator: BaseEvaluator, resamples: int | None = None, seed: int = 0) -> Interval | None:
    """The bias-corrected percentile bootstrap interval (Efron, 1981) of a score, at 95 % confidence.

    None with fewer than two samples, and where all resamples give the same value: they then do not show how sure it is.

    Where every sample is right, or every one wrong, no resample shows anything else; the interval then reaches as far
    as the share that so many samples may miss (the exact form of the "rule of three").

    Args:
        resamples: Number of subsets; if None, as many as the evaluator can afford.
    """
    limits = evaluator.metric.low, evaluator.metric.high
    return _interval(evaluator, evaluator.value, evaluator.sample_values(), limits, resamples, seed)


def drop_interval(reference: BaseEvaluator, other: BaseEvaluator, seed: int = 0) -> Interval | None:
    """As `interval`, of the drop from a reference, e.g. torch, to another backend; positive: the other one is worse.

    Both are scored on the same resamples: what makes a sample hard does so on both backends, so the drop is surer
    than either.

    Args:
        other: Took the same samples in the same order.

    Raises:
        ModelZooError: They took different numbers of samples.
    """
    if len(reference) != len(other):
        raise ModelZooError(f"a drop is taken over the same samples, not {len(reference)} and {len(other)}")

    def drop(chosen: np.ndarray) -> float:
        return reference.metric.drop(reference.value(chosen), other.value(chosen))

    differences = reference.sample_values() - other.sample_values()
    return _interval(reference, drop, differences, (-math.inf, math.inf), None, seed)


def samples_for(width: float, values: np.ndarray | None = None) -> int:
    """How many samples make an interval at most this wide, by the normal approximation; at least 2.

    Args:
        width: From its low to its high end, in the unit of the metric.
        values: Of a pilot: `sample_values` for an interval of the score; the differences between two backends' for one
            of the drop. Without a pilot, a standard deviation of 50 is assumed: the most that percentages can have.

    Raises:
        ModelZooError: The width is not positive.
    """
    if not width > 0:
        raise ModelZooError(f"an interval's width must be positive, got {width:g}")
    spread = 50.0
    if values is not None and len(values) > 1:
        # One more sample that differs as much as any can: a small pilot in which all are equal proves little.
        spread = math.sqrt(float(np.var(values, ddof=1)) or (2 * spread) ** 2 / (len(values) + 1))
    return max(2, math.ceil((2 * NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * spread / width) ** 2))


def _interval(
    evaluator: BaseEvaluator,
    statistic: Callable[[np.ndarray], float],
    sample_values: np.ndarray,
    limits: tuple[float, float],
    resamples: int | None,
    seed: int,
) -> Interval | None:
    size = evaluator.group_size
    groups = len(evaluator) // size
    if groups < 2:
        return None
    random = np.random.default_rng(seed)
    value, values = statistic(np.arange(len(evaluator))), []
    for _ in range(resamples or evaluator.resamples):
        chosen = random.integers(groups, size=groups)
        try:
            values.append(statistic((chosen[:, None] * size + np.arange(size)).ravel()))
        except UndefinedScoreError:
            continue  # a resample without anything to score, e.g. no object: it has no say
    if not values:
        return None
    # Repeats make mAP and the like better than they are; the share of resamples below the value shows by how much.
    normal, drawn = NormalDist(), np.array(values)
    below = (np.sum(drawn < value) + np.sum(drawn <= value) + 1) / (2 * len(drawn) + 2)
    bias, reach = normal.inv_cdf(float(below)), normal.inv_cdf((1 + CONFIDENCE) / 2)
    low, high = np.quantile(drawn, [normal.cdf(2 * bias - reach), normal.cdf(2 * bias + reach)])
    # How far samples may miss what is rare, where the metric is a share and all samples say the same.
    shares = evaluator.metric.unit == "%" and np.isin(evaluator.sample_values(), (0.0, 100.0)).all()
    alike = shares and np.ptp(sample_values) == 0
    unseen = 100.0 * (1 - ((1 - CONFIDENCE) / 2) ** (1 / len(sample_values))) if alike else 0.0
    low, high = max(limits[0], float(low) - unseen), min(limits[1], float(high) + unseen)
    return Interval(low, high, len(values)) if low < high else None
