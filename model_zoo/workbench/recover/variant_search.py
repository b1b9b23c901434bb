"""Search among the variants of a module, the likeliest first, for the one with the least error."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

#: Where a variant's error is as good as another's: rounding alone makes such differences.
_ROUNDING = 5e-7

#: From how many likely variants, between two improvements of the best of them.
_CHUNK = 64

#: A variant: for each choice the position of its value.
Variant = tuple[int, ...]


class VariantSearch:
    """Looks for the variant with the least error.

    Args:
        sizes: Number of values of each choice; position 0 is the likeliest.
        error: Of a variant.
        tolerance: An error that is small enough.
        limit: On the number of variants.
        seconds: On the time.
    """

    def __init__(
        self, sizes: Sequence[int], error: Callable[[Variant], float], tolerance: float, limit: int, seconds: float
    ) -> None:
        self._sizes, self._error, self._tolerance = sizes, error, tolerance
        self._limit, self._end = limit, time.monotonic() + seconds
        self.errors: dict[Variant, float] = {}
        self.exhausted = False

    def run(self) -> tuple[Variant, float]:
        """The best variant and its error.

        From the likeliest variants on, the best of each handful is improved one choice at a time, then two at a time.
        """
        improved: set[Variant] = set()
        likely = by_likelihood(self._sizes)
        size = 1
        while True:
            chunk = list(itertools.islice(likely, size))
            size = min(size * 4, _CHUNK)
            for variant in chunk:
                self._try(variant)
            fresh = [v for v in sorted(self.errors, key=self.errors.__getitem__) if v not in improved][:1]
            for variant in fresh:
                end = self._improve(variant)
                improved |= {variant, end}
            best = min(self.errors, key=self.errors.__getitem__)
            self.exhausted = not chunk
            if self.errors[best] <= self._tolerance or self._over() or not chunk:
                return best, self.errors[best]

    def _over(self) -> bool:
        return len(self.errors) >= self._limit or time.monotonic() > self._end

    def _try(self, variant: Variant) -> float:
        if variant not in self.errors:
            if self._over() and self.errors:
                return float("inf")
            self.errors[variant] = self._error(variant)
        return self.errors[variant]

    def _improve(self, variant: Variant) -> Variant:
        """Take the best value of each choice in turn, and once of each two, while that helps."""
        while True:
            before = self._tried_error(variant)
            for place in range(len(self._sizes)):
                variant = min(self._others(variant, place), key=self._try)
            if self._tried_error(variant) < before * 0.999:
                continue
            if self._tried_error(variant) <= self._tolerance or self._over():
                return variant
            pairs = [
                p for a, b in itertools.combinations(range(len(self._sizes)), 2) for p in self._both(variant, a, b)
            ]
            best = min(pairs, key=self._try, default=variant)
            if self._try(best) >= self._tried_error(variant) * 0.999:
                return variant
            variant = best

    def _tried_error(self, variant: Variant) -> float:
        return self.errors.get(variant, float("inf"))

    def _others(self, variant: Variant, place: int) -> list[Variant]:
        """The variant itself, and those with another value of one choice."""
        others = [(*variant[:place], n, *variant[place + 1 :]) for n in range(self._sizes[place])]
        return [variant, *(other for other in others if other != variant)]

    def _both(self, variant: Variant, first: int, second: int) -> Iterator[Variant]:
        for other in self._others(variant, first)[1:]:
            yield from self._others(other, second)[1:]

    def allowed(self, best: Variant) -> float:
        """Up to which error a variant is as good as the best one."""
        return min(self._tolerance, max(2.0 * self.errors[best], _ROUNDING))

    def undecided(self, best: Variant) -> dict[int, list[int]]:
        """By choice: the values that do as well as the best one, where there are others."""
        self._limit, self._end = self._limit + sum(self._sizes), self._end + 30.0
        found = {}
        for place in range(len(self._sizes)):
            good = [other[place] for other in self._others(best, place) if self._try(other) <= self.allowed(best)]
            if len(good) > 1:
                found[place] = sorted(good)
        return found


def by_likelihood(sizes: Sequence[int]) -> Iterator[Variant]:
    """All variants, those first whose values stand first in their choices."""
    start: Variant = (0,) * len(sizes)
    queue, seen = [(0, start)], {start}
    while queue:
        rank, variant = heapq.heappop(queue)
        yield variant
        for place, position in enumerate(variant):
            if position + 1 < sizes[place]:
                following = (*variant[:place], position + 1, *variant[place + 1 :])
                if following not in seen:
                    seen.add(following)
                    heapq.heappush(queue, (rank + 1, following))
