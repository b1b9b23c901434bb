"""Intervals cover the truth as often as they say, and drops are surer than the scores they are between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_zoo.evaluators.bootstrap import drop_interval, interval, samples_for
from model_zoo.evaluators.classification import ClassificationEvaluator
from model_zoo.utils.errors import ModelZooError


def answered(right: np.ndarray) -> ClassificationEvaluator:
    """An evaluator that saw these answers, bool [N]."""
    evaluator = ClassificationEvaluator()
    evaluator.add({"logits": np.eye(2, dtype=np.float32)[right.astype(int)]}, [1] * len(right))
    return evaluator


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        found = interval(answered(draw.random(100) < 0.7), resamples=200)
        assert found is not None and found.resamples == 200
        covered += found.low <= 70 <= found.high
    assert 180 <= covered <= 198


def test_a_drop_is_surer_than_both_scores() -> None:
    draw = np.random.default_rng(0)
    torch = draw.random(400) < 0.7
    npu = torch ^ (draw.random(400) < 0.03)
    found, alone = drop_interval(answered(torch), answered(npu)), interval(answered(torch))
    assert found is not None and alone is not None
    assert found.low <= 100 * (torch.mean() - npu.mean()) <= found.high
    assert found.high - found.low < 0.5 * (alone.high - alone.low)
    assert found == drop_interval(answered(torch), answered(npu))  # the same draws each time
    assert found != drop_interval(answered(torch), answered(npu), seed=1)
    with pytest.raises(ModelZooError, match="same samples, not 400 and 3"):
        drop_interval(answered(torch), answered(npu[:3]))


def test_what_was_never_seen_is_not_ruled_out() -> None:
    perfect = answered(np.ones(100, bool))
    found, drop = interval(perfect), drop_interval(perfect, perfect)
    assert found is not None and drop is not None
    # Of 100 samples none is wrong: with 97.5 % certainty, fewer than 1 - 0.025 ** 0.01 of all are.
    assert (found.low, found.high) == (pytest.approx(96.378, abs=1e-3), 100)
    assert (drop.low, drop.high) == (pytest.approx(-3.622, abs=1e-3), pytest.approx(3.622, abs=1e-3))


def test_no_interval_is_of_zero_width() -> None:
    mixed = answered(np.arange(4) < 2)
    mixed.metric = replace(mixed.metric, unit="")  # type: ignore[misc]  # no share: the exact bound does not apply
    assert interval(mixed) is not None and drop_interval(mixed, mixed) is None


@pytest.mark.parametrize("count", [0, 1])
def test_one_sample_has_no_interval(count: int) -> None:
    evaluator = ClassificationEvaluator()
    for _ in range(count):
        evaluator.add({"logits": np.eye(2, dtype=np.float32)[:1]}, 0)
    assert interval(evaluator) is None and drop_interval(evaluator, evaluator) is None


def test_the_samples_that_were_asked_for_give_the_width() -> None:
    draw = np.random.default_rng(0)
    pilot = np.where(draw.random(200) < 0.9, 100.0, 0.0)
    count = samples_for(4.0, pilot)
    found = interval(answered(draw.random(count) < 0.9))
    assert found is not None and found.high - found.low == pytest.approx(4.0, rel=0.25)
    assert samples_for(4.0) == 2401 > count  # without a pilot: the worst case, one right in two
    assert 2 <= samples_for(4.0, np.zeros(200)) < count  # nothing differs in the pilot, which proves something
    assert samples_for(1e9) == 2
    with pytest.raises(ModelZooError, match="must be positive"):
        samples_for(0.0)
