"""Choose the range of each activation: what it clips of samples that it was not found on, against how coarse it is.

Of few samples the overall minimum and maximum are too narrow: new samples go past them, and on 16-bit activations that
costs far more than a wider range. Of many they may be too wide for 8 bits. So each way of finding a range is applied to
a part of the samples and its error is measured on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from model_zoo.toolchains.local.quantize.calibrate import Observed, Values

#: Narrowest range that QNN takes, as in onnxruntime's QNN configuration.
MINIMUM_RANGE = 0.0001
#: Parts of the samples that take turns in being measured on.
_FOLDS = 4
_PERCENTILES = (99.9, 99.99, 99.999)
#: Standard deviations of the samples' own extremes that a range is widened by.
_MARGINS = (1.0, 2.0, 4.0, 8.0)
#: Shares of an end that the search for the smallest error tries.
_SHARES = np.linspace(0.3, 1.0, 29)

#: What a clipped value's square error weighs: it has one sign, so that averages over positions do not cancel it. Where
#: nothing averages, as in a transformer's sums, it weighs as much as another.
CLIPPING, PLAIN = 16.0, 1.0
#: An error below this share of the tensor's power is no reason to clip: -60 dB.
_NEGLIGIBLE = 1e-6

MIN_MAX = "min-max"
#: Steps of the two integer types.
LEVELS_8BIT, LEVELS_16BIT = 255, 65535

Range = tuple[float, float]


class _Values:
    """Elements of one tensor on some samples, sorted, for errors in logarithmic time."""

    def __init__(self, seen: Observed, rows: Values) -> None:
        self.lows, self.highs, self.bounds = seen.lows[rows], seen.highs[rows], seen.bounds
        self.sorted = np.sort(seen.values[rows], axis=None).astype(np.float64)
        self._sums = np.concatenate([[0.0], np.cumsum(self.sorted)])
        self._squares = np.concatenate([[0.0], np.cumsum(np.square(self.sorted))])
        self._nonzero = np.count_nonzero(self.sorted) / self.sorted.size
        self._stride = seen.stride

    def error(self, low: Values, high: Values, levels: int, clipping: float) -> Values:
        """Mean square error of rounding to `levels` steps between each low and high, times `clipping` where clipped."""
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        step = np.maximum(high - low, MINIMUM_RANGE) / levels
        count = self.sorted.size
        below, above = np.searchsorted(self.sorted, low), np.searchsorted(self.sorted, high)
        clipped = low * low * below - 2 * low * self._sums[below] + self._squares[below]
        sums, squares = self._sums[-1] - self._sums[above], self._squares[-1] - self._squares[above]
        clipped = clipped + squares - 2 * high * sums + high * high * (count - above)
        # The extremes are seldom among the elements that were kept; each stands for itself alone.
        extremes = np.square(np.maximum(low[..., None] - self.lows, 0)).sum(-1)
        extremes = extremes + np.square(np.maximum(self.highs - high[..., None], 0)).sum(-1)
        result: Values = clipping * (clipped + extremes / self._stride) / count + self._nonzero * step * step / 12
        return result


@cache
def choose_method(seen: Observed, levels: int, clipping: float = CLIPPING) -> str:
    """The method whose error on samples it did not see is smallest; of those with a negligible error the widest."""
    count = len(seen.lows)
    folds = min(_FOLDS, count)
    errors = dict.fromkeys(_METHODS, 0.0)
    for fold in range(folds):
        measured = np.arange(count) % folds == fold
        values = _Values(seen, measured)
        others = _Values(seen, ~measured) if folds > 1 else values
        for name in _METHODS:
            low, high = _bounded(name, others, levels)
            errors[name] += float(values.error(np.array(low), np.array(high), levels, clipping)) / folds
    power = float(np.square(seen.values, dtype=np.float64).mean())
    fine = [name for name, error in errors.items() if error <= _NEGLIGIBLE * power]
    return fine[-1] if fine else min(errors, key=lambda name: errors[name])


@cache
def apply_method(name: str, seen: Observed, levels: int) -> Range:
    """The range that a method finds, within the tensor's bounds."""
    return _bounded(name, _Values(seen, np.full(len(seen.lows), True)), levels)


def _bounded(name: str, values: _Values, levels: int) -> Range:
    low, high = np.clip(_METHODS[name](values, levels), *values.bounds)
    return float(low), float(high)


def _percentile(percent: float, values: _Values, levels: int) -> Range:
    low, high = np.percentile(values.sorted, [100 - percent, percent])
    return low, high


def _margin(deviations: float, values: _Values, levels: int) -> Range:
    low, high = values.lows.min(), values.highs.max()
    return low - deviations * values.lows.std(), high + deviations * values.highs.std()


def _mse(clipping: float, values: _Values, levels: int) -> Range:
    low, high = values.lows.min(), values.highs.max()
    for _ in range(2):
        highs, lows = values.highs.max() * _SHARES, values.lows.min() * _SHARES
        high = highs[np.argmin(values.error(np.array(low), highs, levels, clipping))]
        low = lows[np.argmin(values.error(lows, np.array(high), levels, clipping))]
    return low, high


#: The widest last.
_METHODS: dict[str, Callable[[_Values, int], Range]] = {
    MIN_MAX: partial(_margin, 0.0),
    "moving-average": lambda values, levels: (values.lows.mean(), values.highs.mean()),
    **{f"percentile-{percent}": partial(_percentile, percent) for percent in _PERCENTILES},
    "mse": partial(_mse, PLAIN),
    f"mse-{CLIPPING:g}": partial(_mse, CLIPPING),
    **{f"margin-{deviations:g}": partial(_margin, deviations) for deviations in _MARGINS},
}
