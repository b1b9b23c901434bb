"""Which test samples an evaluation takes: one fair order in chunks, of which any number from the front is fair too."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from model_zoo.base.spec import InputSpec
from model_zoo.datasets.base import BaseDataset
from model_zoo.pipeline.samples import SampleSet, batch_size, samples_at
from model_zoo.utils.errors import ArgumentError, UserError

#: Inputs and outputs of one chunk in one place may take this much memory.
_CHUNK_BYTES = 64 * 2**20
#: So few that a killed run loses little.
_MOST_SAMPLES = 16
#: The first chunk is small: on it the emulator shows how fast it is.
_PILOT_SAMPLES = 2


@dataclass(frozen=True)
class Selection:
    """The chosen samples in their order, in chunks that are worked on, stored and found again one by one.

    Args:
        sizes: Samples in each chunk.
        batch_at: Loads the batch that holds a sample, by the sample's place in the order.
    """

    whole: SampleSet
    chunks: tuple[SampleSet, ...]
    sizes: tuple[int, ...]
    batch_at: Callable[[int], SampleSet]

    def chunks_for(self, samples: int) -> int:
        """How many chunks from the front hold at least so many samples, or all."""
        return min(int(np.searchsorted(np.cumsum(self.sizes), samples)) + 1, len(self.sizes))


def select_samples(
    dataset: BaseDataset, spec: InputSpec, wanted: int | None, seed: int, bytes_per_sample: int
) -> Selection:
    """Select test samples.

    Args:
        wanted: How many; None: all. What fills no batch, or no group, is left out.
        bytes_per_sample: Of inputs and outputs.

    Raises:
        UserError: The dataset is empty, holds fewer than wanted, or not enough for one batch.
    """
    total, batch = len(dataset), batch_size(spec)
    if total == 0:
        raise UserError(f"the dataset {dataset.name} holds no test sample", "check what it was configured with")
    if wanted is not None and not 1 <= wanted <= total:
        raise ArgumentError("num_samples", f" {wanted}: {dataset.name} holds {total}", "ask for 1 up to that many")
    unit = math.lcm(batch, dataset.group_size)
    count = (wanted or total) // unit * unit
    if count == 0:
        raise UserError(f"{wanted or total} samples of {dataset.name} are too few: they are scored {unit} at a time")
    order = fair_order(dataset, seed)[:count]
    samples = partial(samples_at, dataset, spec, fingerprint=dataset.fingerprint())
    size = max(min(_MOST_SAMPLES, _CHUNK_BYTES // bytes_per_sample) // unit, 1) * unit
    pilot = min(max(_PILOT_SAMPLES // unit, 1) * unit, size)
    cuts = [0, *range(pilot, count, size), count]
    chunks = [order[start:stop] for start, stop in pairwise(cuts)]

    def batch_at(position: int) -> SampleSet:
        start = position // batch * batch
        return samples(order[start : start + batch])

    return Selection(samples(order), tuple(map(samples, chunks)), tuple(map(len, chunks)), batch_at)


def fair_order(dataset: BaseDataset, seed: int) -> list[int]:
    """All samples in an order of which every beginning has all strata in their shares; groups stay together.

    It is systematic sampling: the groups of each stratum are shuffled and spread evenly over 0..1, from a random start.
    """
    size = dataset.group_size
    strata: dict[str | int, list[int]] = defaultdict(list)
    for start in range(0, len(dataset) - size + 1, size):
        strata[dataset.stratum(start)].append(start)
    random = np.random.RandomState(seed)  # numpy has frozen this generator
    places: list[tuple[float, int]] = []
    for stratum in sorted(strata, key=str):
        starts = random.permutation(strata[stratum])
        spread = (np.arange(len(starts)) + random.uniform()) / len(starts)
        places += zip(spread.tolist(), starts.tolist(), strict=True)
    return [start + offset for _, start in sorted(places) for offset in range(size)]
