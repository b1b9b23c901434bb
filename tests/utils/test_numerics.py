"""Ratios whose value is known by hand, and values that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.numerics import agreement, sqnr_db


def test_sqnr_of_known_noise() -> None:
    reference = np.array([[3.0, -4.0]], np.float32)
    assert sqnr_db(reference, reference + np.array([[0.3, 0.4]], np.float32)) == pytest.approx(20.0, abs=1e-4)
    assert sqnr_db(reference, reference * 2) == pytest.approx(0.0)
    assert sqnr_db(reference, reference.copy()) == np.inf


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_sqnr_does_not_depend_on_scale(scale: float) -> None:
    reference = np.array([1.0, 2.0, 3.0], np.float32)
    value = reference + np.float32(0.01)
    expected = sqnr_db(reference, value)
    assert sqnr_db(reference * scale, value * scale) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sqnr_of_values_that_are_no_numbers(bad: float) -> None:
    fine, broken = np.array([1.0, 2.0]), np.array([1.0, bad])
    assert sqnr_db(fine, broken) == -np.inf
    assert sqnr_db(broken, fine) == -np.inf
    assert sqnr_db(broken, broken) == -np.inf


def test_sqnr_of_zeros_and_of_nothing() -> None:
    zeros = np.zeros(3)
    assert sqnr_db(zeros, zeros) == np.inf
    assert sqnr_db(zeros, np.array([0.0, 1e-9, 0.0])) == -np.inf
    assert sqnr_db(np.zeros(0), np.zeros(0)) == np.inf


def test_agreement_counts_equal_elements() -> None:
    assert agreement(np.array([1, 2, 3, 4]), np.array([1, 0, 3, 4])) == 0.75
    assert agreement(np.array([True, False]), np.array([True, True])) == 0.5
    assert agreement(np.zeros(0, np.int64), np.zeros(0, np.int64)) == 1.0


def test_shapes_that_would_broadcast_are_refused() -> None:
    for compare in (sqnr_db, agreement):
        with pytest.raises(ModelZooError, match=r"\[2, 1\].*\[2\]"):
            compare(np.zeros(2), np.zeros((2, 1)))
