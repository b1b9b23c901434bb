"""How close two sets of numbers are, and how many samples are kept to measure that."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from model_zoo.utils.errors import ModelZooError

Interval = tuple[float, float]
#: Of a 95 % interval.
_PERCENTILES, _Z = (2.5, 97.5), 1.96
#: Fewer contents drawn again show no interval.
_FEWEST_CONTENTS = 3


def sqnr_db(reference: np.ndarray, value: np.ndarray) -> float:
    """Signal to quantization noise ratio in dB: 10 log10(sum(reference²) / sum((reference - value)²)), in float64.

    Returns:
        inf: the two are equal, element for element.
        -inf: they differ and the reference is all zero, or either holds NaN or infinite values. It is never a pass:
        check for it before comparing two ratios, because -inf >= -inf is true.

    Raises:
        ModelZooError: The shapes differ.
    """
    signal, got = _pair(reference, value, np.float64)
    if not (np.isfinite(signal).all() and np.isfinite(got).all()):
        return -np.inf
    # Scaled so that squares of very large or very small values neither overflow nor vanish; the ratio is the same.
    noise = signal - got
    largest = max(np.abs(signal).max(initial=0.0), np.abs(noise).max(initial=0.0))
    if not noise.any():
        return np.inf
    power, noise_power = float(np.sum((signal / largest) ** 2)), float(np.sum((noise / largest) ** 2))
    if power == 0.0:
        return -np.inf
    return np.inf if noise_power == 0.0 else float(10.0 * np.log10(power / noise_power))


def agreement(reference: np.ndarray, value: np.ndarray) -> float:
    """Share of equal elements of two arrays of one shape, 0 to 1, for integer and bool outputs; 1 if there are none."""
    expected, got = _pair(reference, value, None)
    return float(np.mean(expected == got)) if expected.size else 1.0


def pooled_sqnr_db(
    reference: Sequence[np.ndarray], value: Sequence[np.ndarray], contents: Sequence[Hashable] = ()
) -> tuple[float, Interval | None]:
    """SQNR in dB of all samples together, and its 95 % interval.

    Args:
        reference, value: One array a sample.
        contents: What each sample was made from; each is its own if empty.

    Returns:
        The ratio as `sqnr_db` has it, and the interval over samples drawn again by content; None of fewer than three
        contents, or where the ratio is infinite.
    """
    pairs = [_pair(*pair, np.float64) for pair in zip(reference, value, strict=True)]
    total = sqnr_db(*(np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1)))
    if not np.isfinite(total):
        return total, None
    largest = max(float(np.abs(array).max(initial=0.0)) for pair in pairs for array in pair)
    powers = np.array([[np.square(a / largest).sum(), np.square((a - b) / largest).sum()] for a, b in pairs])
    drawn = _resampled(powers, contents)
    if drawn is None:
        return total, None
    ratios = 10 * np.log10(np.maximum(drawn[:, 0], 1e-300) / np.maximum(drawn[:, 1], 1e-300))
    low, high = np.percentile(ratios, _PERCENTILES)
    return total, (min(float(low), total), max(float(high), total))


def interval_of_mean(values: np.ndarray, contents: Sequence[Hashable] = ()) -> Interval | None:
    """The 95 % interval of the mean of shares in 0..1.

    Args:
        values: One share a sample.
        contents: What each sample was made from; each is its own if empty.

    Returns:
        The interval over samples drawn again by content; of answers that are right or wrong, where it may be empty,
        also Wilson's of as many answers as there are contents. None of fewer than three contents.
    """
    rows = np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1)
    drawn = _resampled(rows, contents)
    if drawn is None:
        return None
    ends = np.percentile(drawn[:, 0] / drawn[:, 1], _PERCENTILES).tolist()
    if np.isin(values, (0.0, 1.0)).all():
        count, mean = len(set(contents)) or len(values), float(np.mean(values))
        width = _Z * np.sqrt(mean * (1 - mean) / count + (_Z / (2 * count)) ** 2)
        ends += [(mean + _Z**2 / (2 * count) + side * width) / (1 + _Z**2 / count) for side in (-1, 1)]
    return float(min(ends)), float(max(ends))


def _resampled(rows: np.ndarray, contents: Sequence[Hashable]) -> np.ndarray | None:
    """Sums of rows [N, K] over contents drawn again: [1000, K]; None of fewer than three contents."""
    order = {content: index for index, content in enumerate(dict.fromkeys(contents or range(len(rows))))}
    if len(order) < _FEWEST_CONTENTS:
        return None
    sums = np.zeros((len(order), rows.shape[1]))
    np.add.at(sums, [order[content] for content in contents or range(len(rows))], rows)
    drawn = np.random.default_rng(0).integers(0, len(sums), (1000, len(sums)))
    result: np.ndarray = sums[drawn].sum(axis=1)
    return result


def holdout_size(count: int) -> int:
    """How many of the last samples nothing is chosen on: a quarter, 8 at most.

    None of less than 8 samples: ranges suffer more from fewer samples than the figure gains.
    """
    return min(count // 4, 8) if count >= 8 else 0


def _pair(reference: np.ndarray, value: np.ndarray, dtype: type[np.float64] | None) -> tuple[np.ndarray, np.ndarray]:
    expected, got = np.asarray(reference, dtype=dtype), np.asarray(value, dtype=dtype)
    if expected.shape != got.shape:
        raise ModelZooError(f"cannot compare shape {list(got.shape)} with the reference's {list(expected.shape)}")
    return expected, got
