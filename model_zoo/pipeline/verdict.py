"""The verdict on a build: good, usable with a loss that is named, or refused, by what its user loses.

A figure decides by its interval over the samples, so that neither their order nor one of them does.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from model_zoo.toolchains.measurement import AGREEMENT, Measurement

#: SQNR from which an output serves as torch's does: noise of 1 % of its power. Of trained networks those whose answers
#: stayed had 20 dB or more; MobileNetV2 with 15 dB gave another answer to one picture in six. docs/accuracy.md.
GOOD_DB = 20.0
#: Below this nothing is left to use: the worst outputs of Whisper's encoder had 1.5 dB, and its transcripts were empty;
#: with 5.6 dB in its state Silero VAD still gave torch's decision in 96 % of the steps.
LEAST_DB = 5.0
#: The same two of a float build: half precision is much nearer, unless something overflows.
GOOD_HALF_DB, LEAST_HALF_DB = 30.0, 20.0
#: The NPU computes half precision in another order than torch; so much may be lost by it.
HALF_ORDER_DB = 3.0
#: Share of the task's answers, or of equal integers, from which a build is good, and from which it is usable.
GOOD_SHARE, LEAST_SHARE = 0.95, 0.5
#: An agreement over few samples is good only if it can be no lower than this.
SURE_SHARE = 0.9


class Verdict(StrEnum):
    """What a build is worth, the best first."""

    GOOD = "good"
    USABLE = "usable"
    REFUSED = "refused"


def worst(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """The worst of some verdicts; None if there is none."""
    known = [verdict for verdict in verdicts if verdict is not None]
    return max(known, key=list(Verdict).index, default=None)


def judge(figure: Measurement, half_reference: Measurement | None = None, half_precision: bool = False) -> Verdict:
    """The verdict on one figure: SQNR in dB, or a share of equal values.

    Args:
        half_reference: The same figure of torch in half precision, which a float build need not exceed.
        half_precision: The build computes in half precision.
    """
    high = figure.interval[1] if figure.interval else figure.value
    if figure.unit == AGREEMENT:
        good, least = GOOD_SHARE, LEAST_SHARE
    elif half_precision:
        good, least = GOOD_HALF_DB, LEAST_HALF_DB
    else:
        good, least = GOOD_DB, LEAST_DB
    if half_reference is not None:
        allowed = half_reference.value - (0.0 if figure.unit == AGREEMENT else HALF_ORDER_DB)
        good, least = min(good, allowed), min(least, allowed)
    if high < least or figure.value == float("-inf"):
        return Verdict.REFUSED
    return Verdict.GOOD if figure.value >= good else Verdict.USABLE


def judge_task(outputs: Verdict | None, task: Measurement | None) -> Verdict | None:
    """The verdict on a component: of its outputs, unless the task's own answers say more.

    Args:
        outputs: The worst verdict on an output.
        task: The share of samples to which the build gives torch's answer, in the task's own terms.
    """
    if task is None or outputs is None:
        return outputs
    low, high = task.interval or (task.value, task.value)
    if high < LEAST_SHARE or (outputs is Verdict.REFUSED and task.value < LEAST_SHARE):
        return Verdict.REFUSED
    if task.value >= GOOD_SHARE and low >= SURE_SHARE:
        return Verdict.GOOD
    return Verdict.USABLE if high < GOOD_SHARE or outputs is Verdict.REFUSED else outputs
