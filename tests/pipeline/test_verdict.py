"""What decides whether a build is good, usable or refused."""

from __future__ import annotations

import math

import pytest

from model_zoo.pipeline.verdict import Verdict, judge, judge_task, worst
from model_zoo.toolchains.measurement import AGREEMENT, EMULATOR, Measurement

GOOD, USABLE, REFUSED = Verdict


def figure(value: float, unit: str = "dB", interval: tuple[float, float] | None = None) -> Measurement:
    return Measurement(name="x", value=value, unit=unit, where=EMULATOR, tools={}, samples=9, interval=interval)


@pytest.mark.parametrize(
    ("decibels", "verdict"),
    [(25.0, GOOD), (math.inf, GOOD), (15.0, USABLE), (5.2, USABLE), (4.2, REFUSED), (-math.inf, REFUSED)],
)
def test_an_output_is_judged_by_its_distance_from_torch(decibels: float, verdict: Verdict) -> None:
    assert judge(figure(decibels)) is verdict


def test_one_unlucky_sample_refuses_nothing() -> None:
    assert judge(figure(4.0, interval=(1.0, 12.0))) is USABLE
    assert judge(figure(4.0, interval=(3.5, 4.5))) is REFUSED


def test_half_precision_may_lose_what_torch_loses_in_it() -> None:
    assert judge(figure(25.0), half_precision=True) is USABLE
    assert judge(figure(12.0), half_precision=True) is REFUSED  # something overflows
    assert judge(figure(12.0), figure(14.0), half_precision=True) is GOOD
    assert judge(figure(12.0), figure(40.0), half_precision=True) is REFUSED


@pytest.mark.parametrize(("share", "verdict"), [(0.97, GOOD), (0.8, USABLE), (0.3, REFUSED)])
def test_integers_are_judged_by_how_many_are_equal(share: float, verdict: Verdict) -> None:
    assert judge(figure(share, AGREEMENT)) is verdict


def test_answers_of_the_task_say_more_than_decibels() -> None:
    def answers(value: float, low: float, high: float) -> Measurement:
        return figure(value, AGREEMENT, (low, high))

    assert judge_task(USABLE, answers(1.0, 0.93, 1.0)) is GOOD
    assert judge_task(GOOD, answers(0.83, 0.75, 0.9)) is USABLE  # near in dB, and one answer in six is another
    assert judge_task(GOOD, answers(0.2, 0.1, 0.4)) is REFUSED
    assert judge_task(REFUSED, answers(0.96, 0.85, 0.99)) is USABLE
    assert judge_task(USABLE, answers(1.0, 0.6, 1.0)) is USABLE  # eight equal answers prove little
    assert judge_task(REFUSED, answers(0.3, 0.1, 0.6)) is REFUSED  # neither says that anything is left
    assert judge_task(REFUSED, answers(0.6, 0.4, 0.7)) is USABLE
    assert judge_task(GOOD, None) is GOOD and judge_task(None, None) is None


def test_the_worst_output_decides() -> None:
    assert worst([GOOD, REFUSED, USABLE]) is REFUSED and worst([None, GOOD]) is GOOD and worst([]) is None
