"""The samples a run works on: which ones, where from, and whether they are real."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays, InputSpec, check_arrays, random_arrays
from model_zoo.datasets import load_dataset
from model_zoo.datasets.base import BaseDataset, MissingDataError
from model_zoo.pipeline.split import LEAST_CHECKED, MOST_CHECKED, split_samples
from model_zoo.utils.errors import ArgumentError, UserError
from model_zoo.utils.hashing import digest
from model_zoo.utils.numerics import holdout_size

#: Fewer real samples than this rarely show the true ranges.
FEW_SAMPLES = 16
#: Calibration samples where the user names no number.
DEFAULT_CALIBRATION_SAMPLES = 100
#: Noise has nothing to teach after a few samples.
NOISE_SAMPLES = 4
_MOST_NOISE = 1000
#: Test samples to score a build with, where the test set is bundled.
ACCURACY_SAMPLES = 360
#: An export takes no more than this to the emulator, which is slow, to be scored, or to be compared beyond the least
#: number of samples; `evaluate` does.
_SCORE_BYTES, _COMPARE_BYTES = 2**21, 2**23
#: A score of fewer samples says nothing.
_FEWEST_SCORED = 36
#: Inputs and outputs of one chunk in one place may take this much memory.
_CHUNK_BYTES = 64 * 2**20
#: So few that a killed run loses little.
_MOST_SAMPLES = 16
#: The first chunk is small: on it the emulator shows how fast it is.
_PILOT_SAMPLES = 2


@dataclass(frozen=True)
class SampleSet:
    """Chosen samples, loaded only when a stage needs them.

    Args:
        origin: For people, e.g. "digits (test)".
        real: Whether the samples are data, not noise.
        count: Batches it holds.
        fingerprint: Equal fingerprints mean equal samples.
        dataset: Name of the dataset if the samples have targets to score against.
        only_class: The class that all are of, where classes are known and there is but one.
        contents: What each batch was made from, where that is known: batches of one content are alike.
        holdout: Of calibration samples, how many of the last choose between what the others set.
        calibrated: Of check samples, that they calibrate the build too: there are no others.
    """

    origin: str
    real: bool
    count: int
    fingerprint: str
    _load: Callable[[], Iterator[tuple[Arrays, Any]]]
    dataset: str | None = None
    only_class: str | int | None = None
    contents: tuple[Hashable, ...] = ()
    holdout: int = 0
    calibrated: bool = False

    def first(self) -> SampleSet:
        """Its first batch, without targets."""
        origin, fingerprint = f"{self.origin}, the first batch", digest(self.fingerprint, "first")
        return SampleSet(origin, self.real, 1, fingerprint, lambda: islice(self._load(), 1), calibrated=self.calibrated)

    def load(self, spec: InputSpec, most: int | None = None) -> tuple[list[Arrays], list[Any]]:
        """Samples and their targets: the first so many, or all if None.

        Raises:
            UserError: A sample does not fit the spec, or holds NaN or infinite values.
        """
        arrays, targets = [], []
        for number, (sample, target) in enumerate(islice(self._load(), most)):
            check_arrays(sample, spec, f"{self.origin}, sample {number}")
            arrays.append({name: sample[name] for name in spec})
            targets.append(target)
        return arrays, targets


def _sample_bytes(spec: InputSpec) -> int:
    return sum(np.dtype(tensor.dtype).itemsize * math.prod(tensor.shape[1:]) for tensor in spec.values())


def most_checked(spec: InputSpec) -> int:
    """How many samples at most check a build: fewer of large ones, on which the emulator takes seconds each."""
    return max(LEAST_CHECKED, min(MOST_CHECKED, _COMPARE_BYTES // _sample_bytes(spec)))


def batch_size(spec: InputSpec) -> int:
    """How many samples one batch of inputs holds."""
    return next(iter(spec.values())).shape[0]


def noise_samples(spec: InputSpec, count: int) -> SampleSet:
    """Noise that fits the spec.

    Raises:
        UserError: It is more than the ranges of anything need.
    """
    if count > _MOST_NOISE:
        raise ArgumentError("num_calibration_samples", f" {count}: of noise {_MOST_NOISE} are enough")
    fields = {name: tensor.to_json() for name, tensor in spec.items()}
    # Seed 0 is a model's own sample, which checks what this calibrates.
    load = partial(map, lambda seed: (random_arrays(spec, seed), None), range(1, count + 1))
    return SampleSet("random noise", False, count, digest("noise", fields, count), load, holdout=holdout_size(count))


def samples_at(dataset: BaseDataset, spec: InputSpec, order: list[int], fingerprint: str) -> SampleSet:
    """These samples of a dataset and their targets, in batches of the spec's size.

    Args:
        fingerprint: Of the whole dataset.
    """
    batch = batch_size(spec)

    def load() -> Iterator[tuple[Arrays, Any]]:
        for start in range(0, len(order), batch):
            samples = [dataset[index] for index in order[start : start + batch]]
            arrays = {name: np.concatenate([sample.inputs[name] for sample in samples]) for name in spec}
            yield arrays, [sample.target for sample in samples]

    origin, key = f"{dataset.name} ({dataset.split})", digest(fingerprint, order, batch)
    contents = tuple(dataset.content(index) for index in order[::batch])
    return SampleSet(origin, True, len(order) // batch, key, load, dataset.name, contents=contents)


def dataset_samples(dataset: BaseDataset, spec: InputSpec, count: int) -> SampleSet:
    """Samples of a dataset at random, each at most once, as many as whole batches hold.

    Raises:
        UserError: The dataset holds not enough for one batch.
    """
    return samples_at(dataset, spec, _order(dataset, spec, count)[0], dataset.fingerprint())


def _order(dataset: BaseDataset, spec: InputSpec, count: int) -> tuple[list[int], list[int]]:
    """Samples in random order: as many as asked for, or all there are, and the rest."""
    batch = batch_size(spec)
    count = min(count, len(dataset)) // batch * batch
    if count == 0:
        raise UserError(f"{dataset.name} gives too few samples for one batch of {batch}")
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    return order[:count], order[count:]


def split_dataset(
    dataset: BaseDataset, spec: InputSpec, wanted: int | None, keeps: bool = True
) -> tuple[SampleSet, SampleSet | None]:
    """Samples that set the ranges, and others, of other content, to check the build on.

    Args:
        keeps: Whether samples are kept for the check; if not, all that are drawn calibrate.

    Raises:
        UserError: The dataset holds fewer than wanted.
    """
    if wanted is not None and not 1 <= wanted <= len(dataset):
        raise UserError(f"{wanted} samples asked for, {dataset.name} holds {len(dataset)}", "ask for 1 up to that many")
    first, rest = _order(dataset, spec, wanted or DEFAULT_CALIBRATION_SAMPLES)
    most = most_checked(spec) if keeps else 0
    split = split_samples([*first, *rest], dataset.content, len(first), most, batch_size(spec))
    classes = {dataset.stratum(index) for index in split.calibration} if dataset.has_strata() else set()
    fingerprint = dataset.fingerprint()
    calibration = samples_at(dataset, spec, split.calibration, fingerprint)
    calibration = replace(calibration, only_class=classes.pop() if len(classes) == 1 else None, holdout=split.holdout)
    if not keeps:
        return calibration, None
    if not split.check:
        return calibration, replace(calibration.first(), calibrated=True)
    return calibration, replace(samples_at(dataset, spec, split.check, fingerprint), dataset=None)


def calibration_and_check(
    spec: InputSpec,
    dataset_name: str | None,
    asked: str | Path | None,
    wanted: int | None,
    random_weights: bool,
    keeps: bool = True,
    tokenizer: str | None = None,
) -> tuple[SampleSet, SampleSet | None]:
    """The samples that set the ranges of a quantized build, and samples of other content to check it on.

    Args:
        dataset_name: What the model names as its calibration dataset.
        asked: A folder of pictures, an .npz, or "random"; None: the model's dataset.
        random_weights: Nothing is lost by noise then, so it is taken where the dataset is absent.
        keeps: Whether samples are kept for the check.

    Returns:
        None to check on where none are kept, or the ranges are those of noise.

    Raises:
        UserError: There is no real data, and noise was not asked for.
    """
    from model_zoo.datasets.folder import FolderDataset

    if wanted is not None and wanted < 1:
        raise ArgumentError("num_calibration_samples", f" {wanted}: ask for at least 1")
    noise_count = wanted or NOISE_SAMPLES
    if asked is not None and str(asked) == "random":
        return noise_samples(spec, noise_count), None
    if asked is not None:
        calibration, check = split_dataset(FolderDataset(Path(asked), spec), spec, wanted, keeps)
        return replace(calibration, origin=str(asked)), check and replace(check, origin=str(asked))
    if dataset_name is not None:
        try:
            dataset = load_dataset(dataset_name, spec, "calibration", tokenizer)
            return split_dataset(dataset, spec, wanted, keeps)
        except MissingDataError as error:
            if not random_weights:
                hint = f'{error.hint}; or give a folder in calibration_data, or calibration_data="random" for noise'
                raise UserError(f"a quantized build needs calibration data: {error.message}", hint) from error
    elif not random_weights:
        raise UserError(
            "a quantized build needs calibration data, and this model names no dataset",
            'give a folder of pictures or an .npz in calibration_data, or calibration_data="random" for noise',
        )
    return noise_samples(spec, noise_count), None


def own_samples(spec: InputSpec, asked: str | Path) -> SampleSet:
    """A user's samples to check a float build on, which nothing calibrates.

    Args:
        asked: A folder of pictures or an .npz.

    Raises:
        UserError: There are none, or they do not fit.
    """
    from model_zoo.datasets.folder import FolderDataset

    samples = dataset_samples(FolderDataset(Path(asked), spec), spec, most_checked(spec) * batch_size(spec))
    return replace(samples, origin=str(asked), dataset=None)


def calibration_warnings(samples: SampleSet, spec: InputSpec) -> list[str]:
    """What speaks against ranges from these samples, by their number, their classes and a look at the first ones.

    Raises:
        UserError: Those looked at hold one value each, as an empty picture does: they show no range at all.
    """
    if not samples.real:
        return ["CALIBRATED ON RANDOM NOISE: the ranges fit no real input"]
    warnings = []
    if samples.count < FEW_SAMPLES:
        warnings.append(f"ONLY {samples.count} CALIBRATION SAMPLE(S): {FEW_SAMPLES} or more show better ranges")
    if samples.only_class is not None:
        warnings.append(f"ALL CALIBRATION SAMPLES ARE OF ONE CLASS ({samples.only_class}): others may leave the ranges")
    wide = [name for name, tensor in spec.items() if np.prod(tensor.shape[1:]) > 1]
    looked, constant = 0, 0
    for arrays, _ in islice(samples._load(), FEW_SAMPLES):
        flat = [arrays[name].reshape(len(arrays[name]), -1) for name in wide]
        looked += 1
        constant += bool(flat) and all(bool((value == value[:, :1]).all()) for value in flat)
    if constant == looked:
        raise UserError(
            f"calibration data: the first {looked} sample(s) of {samples.origin} hold one value each: no ranges",
            "give real samples in calibration_data",
        )
    if constant:
        warnings.append(
            f"{constant} OF THE FIRST {looked} CALIBRATION SAMPLES HOLD ONE VALUE EACH, as empty pictures do"
        )
    return warnings


def check_samples(spec: InputSpec, eval_datasets: Sequence[str], tokenizer: str | None = None) -> SampleSet | None:
    """What a build is checked with: samples of the first test set that is here, as many as the emulator runs soon.

    Returns:
        Without targets where there are too few to be scored; None if no test set is here.
    """
    for name in eval_datasets:
        try:
            dataset = load_dataset(name, spec, "test", tokenizer)
        except MissingDataError:
            continue  # the plan says that the model's own sample serves instead
        if dataset.bundled and (count := min(ACCURACY_SAMPLES, _SCORE_BYTES // _sample_bytes(spec))) >= _FEWEST_SCORED:
            return dataset_samples(dataset, spec, count)
        return replace(dataset_samples(dataset, spec, LEAST_CHECKED * batch_size(spec)), dataset=None)
    return None


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
