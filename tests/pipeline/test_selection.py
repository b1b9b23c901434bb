"""Which samples an evaluation takes, and how many of them the emulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from model_zoo.base.spec import Arrays, TensorSpec
from model_zoo.datasets.base import BaseDataset, Sample
from model_zoo.evaluators.base import Metric
from model_zoo.pipeline.backend_runs import EmulatorPool
from model_zoo.pipeline.evaluate import choose_subset
from model_zoo.pipeline.options import Backend
from model_zoo.pipeline.samples import fair_order, select_samples
from model_zoo.pipeline.worst_samples import rank
from model_zoo.runtimes.base import CompiledModel, TimedOutputs
from model_zoo.utils.errors import UserError
from model_zoo.utils.jobs import ChildFailedError, ChildStoppedError

SPEC = {"x": TensorSpec((1, 1))}
TOP1 = Metric("top-1", "%", 0.0, 100.0, higher_is_better=True, max_drop=1.0)


class Numbers(BaseDataset):
    """0, 1, 2, …; `rare` of them are of a stratum of their own."""

    name: ClassVar[str] = "numbers"

    def __init__(self, count: int, rare: int = 0) -> None:
        super().__init__(SPEC, "test")
        self.count, self.rare = count, rare

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return Sample({"x": np.full((1, 1), index, np.float32)}, index)

    def stratum(self, index: int) -> str:
        return "rare" if index < self.rare else "common"

    def fingerprint(self) -> str:
        return f"numbers {self.count}"


class Pairs(Numbers):
    """Neighbours belong together."""

    group_size: ClassVar[int] = 2


def test_every_beginning_has_all_strata_in_their_shares() -> None:
    dataset = Numbers(1000, rare=100)
    order = fair_order(dataset, seed=3)
    assert sorted(order) == list(range(1000)) and order == fair_order(dataset, seed=3) != fair_order(dataset, seed=4)
    for first in (10, 50, 333, 1000):
        rare = Counter(dataset.stratum(index) for index in order[:first])["rare"]
        assert abs(rare - first / 10) <= 1


def test_groups_stay_together_and_chunks_hold_whole_ones() -> None:
    draw = select_samples(Pairs(101), SPEC, None, seed=0, bytes_per_sample=4)
    targets = [target for chunk in draw.chunks for batch in chunk.load(SPEC)[1] for target in batch]
    assert len(targets) == sum(draw.sizes) == 100 and draw.sizes[0] == 2
    assert all(size % 2 == 0 for size in draw.sizes)
    assert all(one % 2 == 0 and other == one + 1 for one, other in zip(targets[::2], targets[1::2], strict=True))
    assert [batch[0] for position in (0, 7, 99) for batch in draw.batch_at(position).load(SPEC)[1]] == [
        targets[0],
        targets[7],
        targets[99],
    ]


def test_a_larger_draw_begins_with_the_smaller_one() -> None:
    small, large = (select_samples(Numbers(500), SPEC, count, 0, 4) for count in (100, 400))
    whole = [chunk.fingerprint for chunk, size in zip(small.chunks, small.sizes, strict=True) if size == 16]
    assert len(whole) == 6 and set(whole) < {chunk.fingerprint for chunk in large.chunks}


def test_large_samples_come_in_small_chunks() -> None:
    assert set(select_samples(Numbers(10), SPEC, None, 0, bytes_per_sample=2**40).sizes) == {1}


@pytest.mark.parametrize(
    "count, wanted, text", [(0, None, "holds no"), (5, 6, "holds 5"), (5, -1, "-1"), (1, None, "too few")]
)
def test_draws_that_cannot_be_are_refused(count: int, wanted: int | None, text: str) -> None:
    with pytest.raises(UserError, match=text):
        select_samples(Pairs(count), SPEC, wanted, 0, 4)


def test_the_emulator_takes_as_many_as_the_interval_needs_and_time_allows() -> None:
    draw = select_samples(Numbers(5000), SPEC, None, 0, 4)
    right, none_lost = np.full(1000, 100.0), np.zeros(1000)
    fast = choose_subset(draw, TOP1, None, right, none_lost, seconds_per_sample=0.01, workers=2)
    # The chance that 1 % wrong answers stay unseen in so many samples is 2.5 %.
    assert 368 <= fast.samples < 368 + 16 and 0.99**368 < 0.025 < 0.99**367 and "±1 %" in fast.reason
    slow = choose_subset(draw, TOP1, None, right, none_lost, seconds_per_sample=15.0, workers=1)
    assert 120 <= slow.samples < 120 + 16 and "interval=2" in slow.reason
    asked = choose_subset(draw, TOP1, 2.0, right, none_lost, seconds_per_sample=15.0, workers=1)
    assert asked.samples == fast.samples
    lossy = np.where(np.arange(1000) % 20 == 0, 100.0, 0.0)  # 5 % of the answers change
    assert choose_subset(draw, TOP1, None, right, lossy, 0.01, 2).samples > 3 * fast.samples
    assert choose_subset(draw, TOP1, 0.01, right, lossy, 15.0, 1).samples == 5000


class Flaky(CompiledModel):
    """An emulator whose processes die after so many runs."""

    def __init__(self, lives: list[int], death: ChildFailedError | None = None) -> None:
        self.lives, self.started, self.closed = lives, 0, 0
        self.left: int | None = None
        self.death = death or ChildFailedError("emulate: the child process was killed by SIGKILL")

    def run_timed(self, samples: Sequence[Arrays]) -> TimedOutputs:
        if self.left is None:
            self.started += 1
            self.left = self.lives.pop(0)
        if not self.left:
            self.close()
            raise self.death
        self.left -= 1
        return TimedOutputs(list(samples), 0.1)

    def _run(self, samples: Sequence[Arrays]) -> TimedOutputs:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += self.left is not None
        self.left = None


def test_samples_of_a_crashed_emulator_are_run_once_more_in_a_fresh_process() -> None:
    emulator = Flaky([2, 2])
    with EmulatorPool(lambda: emulator, 1) as pool:
        assert [pool.run([{"x": np.array([number])}]).outputs[0]["x"][0] for number in range(4)] == [0, 1, 2, 3]
    assert emulator.started == emulator.closed == 2
    with EmulatorPool(lambda: Flaky([0, 0]), 1) as pool, pytest.raises(ChildFailedError, match=r"SIGKILL.*twice"):
        pool.run([{"x": np.zeros(1)}])


def test_nothing_starts_again_when_the_run_is_stopped() -> None:
    emulator = Flaky([0, 0, 5], ChildStoppedError("emulate: the child process was killed by SIGKILL"))
    with EmulatorPool(lambda: emulator, 1) as pool:
        for started in (1, 2):  # the pool hands the emulator out again
            with pytest.raises(ChildStoppedError):
                pool.run([{"x": np.zeros(1)}])
            assert emulator.started == emulator.closed == started


def test_the_worst_samples_lost_most_and_perfect_ones_are_none() -> None:
    values = {
        Backend.TORCH: np.array([90.0, 100.0, 40.0, 100.0, 50.0]),
        Backend.CPU: np.array([85.0, 100.0, 40.0, 60.0]),
    }
    assert rank(values, TOP1) == [3, 0, 2]
    lower = replace(TOP1, higher_is_better=False)
    assert rank({Backend.CPU: np.array([0.0, 3.0, np.nan, 7.0])}, lower) == [3, 1, 2]
