"""Values of a recovery: drafts of a module, the choices that no shape could settle, and what verification said."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from model_zoo.checkpoints.contents import Contents


class SettledBy(StrEnum):
    """What a choice rests on."""

    NAMES = "names"
    IO_PAIR = "input and output"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Choice:
    """One thing that shapes do not tell, e.g. the number of attention heads.

    Args:
        name: A keyword argument of the module's `build_model`.
        value: What is taken.
        alternatives: All values that fit the shapes, `value` among them, the likeliest first.
        meaning: In words, with the layer where it matters.
    """

    name: str
    value: Any
    alternatives: tuple[Any, ...]
    settled_by: SettledBy
    meaning: str


def literal(value: object) -> str:
    """The value of a choice as Python text, strings in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


@dataclass(frozen=True)
class ExampleInput:
    """An input that the forward pass is tried with.

    Args:
        high: For integers: values are from 0 to below this, e.g. the size of a vocabulary.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    high: int | None = None


@dataclass(frozen=True)
class Draft:
    """A module that should load a checkpoint; nothing of it has run yet.

    Args:
        title: What it is, in a few words: "torchvision resnet50", "U-Net of 4 levels".
        source: Text of model.py: a docstring and `build_model(**choices) -> torch.nn.Module` in evaluation mode, whose
            keyword arguments are the names of `choices` and whose defaults are their values.
        constructor: The call behind it in one line, e.g. "torchvision.models.resnet50(weights=None, num_classes=10)";
            None for a module of its own.
        tensors: Name in the checkpoint, by name in the module: of every tensor of the module that the checkpoint has.
        missing: Tensors of the module that the checkpoint lacks.
        unused: Tensors of the checkpoint that the module does not take.
        inputs: What to try it with, in call order.
    """

    title: str
    source: str
    constructor: str | None
    tensors: Mapping[str, str]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    choices: tuple[Choice, ...]
    inputs: tuple[ExampleInput, ...]

    @property
    def is_exact(self) -> bool:
        """Whether module and checkpoint hold the same tensors."""
        return not self.missing and not self.unused


class FoundBy(StrEnum):
    """How a draft came about."""

    NAME = "name"
    STRUCTURE = "structure"


@dataclass(frozen=True)
class RankedDraft:
    """A draft, and how well it fits."""

    draft: Draft
    found_by: FoundBy
    score: float  # values that checkpoint and module share, as a share of the values that either has
    constructors: Mapping[str, str]  # the constructor call, by alternative of the choice `architecture`

    def to_json(self) -> dict[str, Any]:
        draft = self.draft
        return {
            "title": draft.title,
            "found_by": self.found_by,
            "score": self.score,
            "exact": draft.is_exact,
            "missing": len(draft.missing),
            "unused": len(draft.unused),
            "constructors": dict(self.constructors) or {draft.title: draft.constructor},
        }


@dataclass(frozen=True)
class SearchedLibrary:
    """What was asked of one library."""

    library: str
    version: str | None
    architectures: int  # that were compared; 0 if it was not searched
    note: str = ""  # why not, or what could not be compared


@dataclass(frozen=True)
class RankedDrafts:
    """Every draft, best first, where it was looked for, and what else there is to say."""

    drafts: Sequence[RankedDraft]
    searched: Sequence[SearchedLibrary] = ()
    notes: Sequence[str] = ()


class Estimate(BaseModel, frozen=True):
    """What is known before the first forward pass."""

    parameters: int
    multiply_adds: int | None  # of one sample; None if the module does not run without memory
    at_least_seconds: float | None  # one sample at the speed of a matrix product on this host CPU; None likewise
    weights_bytes: int  # size of weights.safetensors


class OutputTensor(BaseModel, frozen=True):
    """One output of the forward pass."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Verification(BaseModel, frozen=True):
    """What was tried, on the host CPU. A step that was not reached is None."""

    loads: bool  # whether `load_state_dict` took the weights: strictly for an exact draft, else all that were recovered
    problem: str | None = None  # what failed, in one line; None if nothing did
    estimate: Estimate | None = None
    outputs: tuple[OutputTensor, ...] | None = None
    finite: bool | None = None  # whether every value of every output is
    reload_equal: bool | None = None  # whether a second module with the saved weights gives the same bits
    seconds: float | None = None  # median of one sample after the first
    first_seconds: float | None = None
    runs: int | None = None
    peak_memory_bytes: int | None = None  # of the whole child process, torch and two modules included
    threads: int | None = None  # of torch

    @property
    def passed(self) -> bool:
        """Whether the module loads, runs, gives finite values, and gives them again after it was saved."""
        return self.loads and self.problem is None and bool(self.finite) and bool(self.reload_equal)


@dataclass(frozen=True)
class Tried:
    """A draft that was written to a folder, loaded and run."""

    ranked: RankedDraft  # with its choices settled
    verification: Verification
    weights_sha256: str
    settled: str | None  # what an input and its output said of the choices
    reproduced: bool | None  # whether the module gives that output; None if there is none

    @property
    def passed(self) -> bool:
        """Whether the module runs, and gives the output that is known of it."""
        return self.verification.passed and self.reproduced is not False


@dataclass(frozen=True)
class Recovery:
    """Everything that is known in the end."""

    contents: Contents
    sha256: str | None
    candidates: RankedDrafts
    chosen: Tried
    attempts: Mapping[str, str]  # what verification said of the drafts that were tried before, by title

    @property
    def is_whole(self) -> bool:
        """Whether everything of the checkpoint is in a module that passed every test."""
        return self.chosen.ranked.draft.is_exact and self.chosen.passed

    def to_json(self) -> dict[str, Any]:
        """What recovery.json holds."""
        contents, chosen, draft = self.contents, self.chosen, self.chosen.ranked.draft
        return {
            "checkpoint": {
                "path": str(contents.path),
                "sha256": self.sha256,
                "nbytes": contents.nbytes,
                "format": contents.format,
                "state_dict": contents.main,
                "problems": contents.problems,
            },
            "model": {
                "title": draft.title,
                "constructor": draft.constructor,
                "found_by": chosen.ranked.found_by,
                "exact": draft.is_exact,
                "whole": self.is_whole,
                "score": chosen.ranked.score,
            },
            "choices": [asdict(choice) for choice in draft.choices],
            "settled": chosen.settled,
            "not_recovered": {"missing": draft.missing, "unused": draft.unused},
            "inputs": [asdict(example) for example in draft.inputs],
            "tensors": dict(draft.tensors),
            "weights": {"file": "weights.safetensors", "sha256": chosen.weights_sha256},
            "verification": {
                "measured_on": host(),
                "passed": chosen.verification.passed,
                **chosen.verification.model_dump(),
            },
            "failed_attempts": dict(self.attempts),
            "candidates": [each.to_json() for each in self.candidates.drafts],
            "searched": [asdict(each) for each in self.candidates.searched],
            "notes": list(self.candidates.notes),
        }


def host() -> str:
    """Where everything was measured."""
    return f"host CPU ({platform.machine()})"
