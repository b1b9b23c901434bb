"""How close two sets of numbers are, and how many samples are kept to measure that."""

from __future__ import annotations

import numpy as np

from model_zoo.utils.errors import ModelZooError


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
