"""Many samples through the slow emulator: several at once, and no more than the asked interval needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import LifoQueue
from typing import Self

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import Metric
from model_zoo.evaluators.bootstrap import samples_for
from model_zoo.pipeline.selection import Selection
from model_zoo.runtimes.base import CompiledModel, TimedOutputs
from model_zoo.utils.jobs import ChildFailedError, ChildStoppedError

#: Without an asked interval the emulator runs this long, all workers together.
_MOST_SECONDS = 1800.0
_ATTEMPTS = 2
#: Fewer samples than this say little, whatever the spread.
_FEWEST_SAMPLES = 50


class EmulatorPool:
    """Emulators in processes of their own, each of which loads the compiled file once. May be used from many threads.

    Args:
        load: Loads an emulator.
        size: How many there are at most.
    """

    def __init__(self, load: Callable[[], CompiledModel], size: int) -> None:
        self._load = load
        self._idle: LifoQueue[CompiledModel | None] = LifoQueue()
        for _ in range(size):
            self._idle.put(None)  # loaded when it is needed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        while not self._idle.empty():
            if emulator := self._idle.get():
                emulator.close()

    def run(self, samples: Sequence[Arrays]) -> TimedOutputs:
        """Run samples in order. An emulator whose process fails starts another, and its samples are run once more.

        Raises:
            ChildFailedError: They failed twice.
            ChildStoppedError: The whole run is being stopped.
        """
        emulator = self._idle.get()
        failures: list[ChildFailedError] = []
        try:
            for _ in range(_ATTEMPTS):
                try:
                    emulator = emulator or self._load()
                    return emulator.run_timed(samples)
                except ChildStoppedError:
                    raise
                except ChildFailedError as error:
                    failures.append(error)
        finally:
            self._idle.put(emulator)
        failure = failures[-1]
        hint = failure.hint or "try fewer `workers` if memory is short, or another `precision`"
        raise ChildFailedError(f"{failure.message} (twice, on the same samples)", hint, failure.log) from failure


@dataclass(frozen=True)
class Subset:
    """How much of a selection the emulator takes.

    Args:
        chunks: From the front of the selection.
        reason: Why so many, for people.
    """

    chunks: int
    samples: int
    reason: str


def choose_subset(
    selection: Selection,
    metric: Metric,
    width: float | None,
    scores: np.ndarray,
    losses: np.ndarray | None,
    seconds_per_sample: float,
    workers: int,
) -> Subset:
    """Choose so many samples that the 95 % interval of the emulator's drop is as narrow as asked.

    Args:
        width: Of the interval, from end to end; None: twice the largest fine drop, within half an hour.
        scores: `sample_values` of what was run so far.
        losses: What those samples lost on the host CPU; None: unknown, so the interval is that of the metric itself.
        seconds_per_sample: In one process, from the first chunk.
    """
    total = sum(selection.sizes)
    asked = width or 2 * metric.max_drop
    needed = samples_for(asked, scores if losses is None else losses)
    if np.isin(scores, (metric.low, metric.high)).all():
        # Each sample is right or wrong. If all are alike, only their number says how rare the others can be.
        share = min(asked / 2 / (metric.high - metric.low), 0.5)
        needed = max(needed, math.ceil(math.log(0.025) / math.log1p(-share)))
    goal = f"a 95 % interval of ±{asked / 2:g} {metric.unit}".strip()
    affordable = int(_MOST_SECONDS * workers / seconds_per_sample) if width is None else total
    wanted = max(min(max(needed, _FEWEST_SAMPLES), affordable, total), 1)
    chunks = selection.chunks_for(wanted)
    samples = sum(selection.sizes[:chunks])
    if samples == total:
        reason = "all" if needed <= total else f"all, though {goal} needs {needed}"
    elif wanted == affordable:
        reason = f"half an hour's work; {goal} needs {needed}: ask for it with interval={asked:g}"
    else:
        reason = f"enough for {goal}"
    return Subset(chunks, samples, reason)
