"""Samples that calibrate, choose and check share no content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_zoo.pipeline.split import LEAST_CHECKED, check_size, split_samples


@given(st.integers(1, 200), st.integers(1, 30), st.integers(1, 4), st.integers(0, 100))
def test_no_content_is_in_two_parts(count: int, per_content: int, batch: int, spare: int) -> None:
    order = list(range(count + spare))
    split = split_samples(order, lambda index: index // per_content, count, batch=batch)
    chosen = len(split.calibration) - split.holdout * batch
    parts = [split.calibration[:chosen], split.calibration[chosen:], split.check]
    contents = [{index // per_content for index in part} for part in parts]
    one_content = len({index // per_content for index in split.calibration}) == 1
    assert not contents[2] & (contents[0] | contents[1])
    assert one_content or not contents[0] & contents[1]
    assert all(len(part) % batch == 0 for part in parts[2:]) and len(split.calibration) % batch == 0
    assert len({*split.calibration, *split.check}) == len(split.calibration) + len(split.check)
    assert chosen > 0 or count < batch


@pytest.mark.parametrize(("count", "checked"), [(2, 0), (3, 1), (18, 6), (64, 12), (100, 20), (1000, 32)])
def test_the_check_takes_a_share(count: int, checked: int) -> None:
    assert check_size(count) == checked


def test_what_was_not_drawn_checks_first() -> None:
    split = split_samples(list(range(100)), lambda index: index, 50)
    assert len(split.calibration) == 50 and set(split.check) <= set(range(50, 100))
    assert len(split.check) >= LEAST_CHECKED


def test_fitted_samples_come_from_many_contents() -> None:
    split = split_samples(list(range(120)), lambda index: index // 12, 120)
    assert len({index // 12 for index in split.calibration[:6]}) == 6


def test_one_content_alone_cannot_be_split() -> None:
    split = split_samples(list(range(20)), lambda index: "photo", 20)
    assert split.check == [] and len(split.calibration) == 20 and split.holdout == 5
