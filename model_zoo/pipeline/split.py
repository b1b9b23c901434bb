"""Split samples by content: some set ranges and weights, some choose between these, and others check the build."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from model_zoo.utils.numerics import holdout_size

#: Samples a build is checked on: fewer say little, more take time on the emulator.
LEAST_CHECKED, MOST_CHECKED = 8, 32


@dataclass(frozen=True)
class Split:
    """Samples by their index in a dataset.

    Args:
        calibration: Those that fit, of as many contents as there are at the front, then those that choose.
        holdout: How many of the last choose; they share no content with those before, where there are two contents.
        check: Share no content with the others; empty where there are too few.
    """

    calibration: list[int]
    holdout: int
    check: list[int]


def check_size(count: int, most: int = MOST_CHECKED) -> int:
    """How many of so many samples are kept for the check: a fifth, at least 8, but at most a third; 0 of under 3."""
    return min(max(LEAST_CHECKED, count // 5), count // 3, most)


def split_samples(
    order: Sequence[int],
    content: Callable[[int], Hashable],
    calibrated: int,
    most: int = MOST_CHECKED,
    batch: int = 1,
) -> Split:
    """Split samples in random order.

    Args:
        content: What a sample was made from.
        calibrated: How many of the first to calibrate with; the rest may check.
        most: Calls of the model that check at most; if 0, none are kept for it.
        batch: Samples of one call of the model; each part holds whole batches.
    """
    first, rest = list(order[:calibrated]), list(order[calibrated:])
    known = {content(index) for index in first}
    wanted = check_size(calibrated // batch, most) * batch
    check = [index for index in rest if content(index) not in known][: max(wanted, min(LEAST_CHECKED, most) * batch)]
    groups = _groups(first, content)
    if len(check) < min(LEAST_CHECKED * batch, wanted):
        check = _take(groups, wanted)[: most * batch]
    count = sum(map(len, groups))
    wanted = holdout_size(count // batch) * batch
    last = _take(groups, wanted)[: 2 * wanted]
    # Of one content alone, the last samples are all there is to choose on.
    fit = [index for index in chain.from_iterable(zip_longest(*groups)) if index is not None]
    fit = fit[: len(fit) // batch * batch]
    holdout = len(last) // batch if last else wanted // batch
    return Split(fit + last[: len(last) // batch * batch], holdout, check[: len(check) // batch * batch])


def _groups(indices: Sequence[int], content: Callable[[int], Hashable]) -> list[list[int]]:
    """Samples of one content together, in the order in which the contents first come."""
    groups: dict[Hashable, list[int]] = {}
    for index in indices:
        groups.setdefault(content(index), []).append(index)
    return list(groups.values())


def _take(groups: list[list[int]], wanted: int) -> list[int]:
    """Remove the last contents until they hold as many samples as wanted; one content always stays."""
    taken: list[int] = []
    while len(groups) > 1 and len(taken) < wanted:
        taken = groups.pop() + taken
    return taken
