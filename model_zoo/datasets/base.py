"""What a dataset is: numbered samples that fit an input spec, in two parts that share nothing."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args

import numpy as np

from model_zoo.base.spec import Arrays, InputSpec
from model_zoo.utils.errors import UserError, unknown_name
from model_zoo.utils.files import cache_root

Split = Literal["calibration", "test"]
_File = TypeVar("_File")

#: Of a dataset that has no parts of its own, one sample in ten, and never more than this, is for calibration.
MAX_CALIBRATION = 1000

#: What evaluators get as target, by task; `base.annotation` says more.
TARGETS = {
    "image classification": "class index",
    "object detection": "boxes and classes",
    "semantic segmentation": "class of each pixel",
    "super-resolution": "picture",
    "denoising": "picture",
    "depth estimation": "metres of each pixel",
    "pose estimation": "keypoints",
    "video classification": "class index",
    "speech recognition": "transcript",
    "sentence similarity": "score of a pair",
}


class MissingDataError(UserError):
    """The data is not on this machine. The hint says what to get where, and the command to run then."""


@dataclass(frozen=True)
class Sample:
    """One sample.

    Args:
        inputs: By input name, with a batch dimension of 1.
        target: What is right for it, e.g. a class index; None if the dataset does not say.
    """

    inputs: Arrays
    target: Any = None


class BaseDataset(ABC):
    """Samples for calibration or for scoring. Cheap to build: nothing is decoded before it is asked for.

    Args:
        spec: The inputs that samples are made for; its batch size does not matter.
        split: `calibration` and `test` have no sample in common.

    Raises:
        UserError: The dataset cannot feed these inputs.
        MissingDataError: The data is not here.
    """

    name: ClassVar[str]
    #: One of `TARGETS`.
    task: ClassVar[str]
    #: Whether the data comes with the installed packages.
    bundled: ClassVar[bool] = False
    #: Samples that are only scored together stand side by side, this many; a selection takes all of them or none.
    group_size: ClassVar[int] = 1

    def __init__(self, spec: InputSpec, split: Split) -> None:
        if split not in get_args(Split):
            raise unknown_name("split", split, get_args(Split), "model-zoo evaluate --help")
        self.spec = spec
        self.split: Split = split

    @classmethod
    def load(cls, spec: InputSpec, split: Split, tokenizer: Path | None) -> Self:
        """Open the dataset for a model, whose tokenizer's file datasets of text need."""
        return cls(spec, split)

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Load one sample."""

    def stratum(self, index: int) -> str | int:
        """Group of a sample, e.g. its class, whose share a small selection keeps; known without decoding it."""
        return 0

    def has_strata(self) -> bool:
        """Whether `stratum` tells samples apart."""
        return type(self).stratum is not BaseDataset.stratum

    @abstractmethod
    def fingerprint(self) -> str:
        """Equal fingerprints mean equal samples in equal order."""


def data_root() -> Path:
    """Where datasets are looked for: $MODEL_ZOO_DATA, or `data` in the cache folder."""
    chosen = os.environ.get("MODEL_ZOO_DATA")
    return Path(chosen).expanduser() if chosen else cache_root() / "data"


def split_indices(count: int, split: Split, seed: int = 0) -> list[int]:
    """Which of `count` samples belong to a split: the same ones on every machine."""
    order = np.random.RandomState(seed).permutation(count)  # numpy has frozen this generator
    calibration = min(MAX_CALIBRATION, max(1, count // 10))
    return sorted(int(index) for index in (order[:calibration] if split == "calibration" else order[calibration:]))


def split_files(files: list[_File], split: Split, root: Path) -> list[_File]:
    """The files of one split, of at least two; `root` names the dataset in the message."""
    if len(files) < 2:
        raise UserError(f"{root} holds {len(files)} pictures, two splits need at least 2")
    return [files[index] for index in split_indices(len(files), split)]
