"""What is in a model file, as far as it is known without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.stored_tensor import ITEM_SIZES, StoredTensor
from model_zoo.utils.text import printable, shortened


class Format(StrEnum):
    TORCH_ZIP = "torch zip"
    TORCH_LEGACY = "torch legacy"
    TORCHSCRIPT = "TorchScript"
    PT2 = "exported program"
    SAFETENSORS = "safetensors"
    SAFETENSORS_SHARDED = "sharded safetensors"
    TORCH_SHARDED = "sharded torch"
    NPZ = "npz"
    ONNX = "ONNX"
    TFLITE = "TensorFlow Lite"
    HUGGING_FACE = "Hugging Face folder"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file.

    Args:
        dtype: Name of the torch dtype, e.g. "float32", "float8_e4m3fn"; what the format calls it where torch has none.
        nbytes: Of its values, as stored.
        problem: Why its values cannot be read; None if they can.
        unsupported: The problem is no damage: values of this type or layout are not read.
        quantization: Of a quantized tensor: "scheme", "scale" and "zero_point", and "axis" where there is one for each
            channel. Its values are the integers that are stored.
        stored: Where its values are; None if they cannot be read.
    """

    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    problem: str | None = None
    unsupported: bool = False
    quantization: Mapping[str, Any] | None = None
    stored: StoredTensor | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls, stored: StoredTensor, dtype: str | None = None, quantization: Mapping[str, Any] | None = None
    ) -> TensorInfo:
        """A tensor of a checked shape; the dtype is its name in the file if that is not the one of what is stored."""
        shape, item = stored.shape, ITEM_SIZES.get(stored.dtype)
        if item is None:
            kind = printable(stored.dtype)
            return cls(shape, dtype or kind, stored.source.size, f"values of the type {kind} are not read", True)
        damage, nbytes = stored.problem(item), math.prod(shape) * item
        readable = None if damage else stored
        return cls(shape, dtype or stored.dtype, nbytes, damage, quantization=quantization, stored=readable)

    @classmethod
    def unreadable(cls, problem: object, dtype: str = "unknown") -> TensorInfo:
        """A damaged tensor of no known shape."""
        return cls((), dtype, 0, str(problem))

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class ValueFigures:
    """What the values of one tensor are like: how many are NaN or infinite, and what the finite ones are, if any."""

    non_finite: int
    minimum: float | None
    maximum: float | None
    mean: float | None


#: Tensors by their names in a state dict, in the order of the file.
StateDictInfo = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Contents:
    """Everything a file says about itself.

    Args:
        path: The file, or the folder.
        nbytes: Size on disk; of a sharded checkpoint all its files.
        state_dicts: By the path inside the file: "" for tensors at the top, else e.g. "model", "ema", "optimizer".
            A prefix that all names share, e.g. "module.", is kept.
        main: Which of them a loader would take; None where the file holds no tensors.
        is_module: Those that were whole pickled modules: the class, by path.
        config: Of the architecture, where the file or a config.json beside it brings one.
        metadata: What else it says: epochs, versions, hyperparameters, inputs and outputs of a graph …; JSON values.
        refused: Every global that a pickle names and that was not looked up, "module.name". A name that the reader
            knows the meaning of, e.g. that of a tensor, is not among them.
        calls: What the file wanted to be done with code, and was not: most are in `refused`, too. An instance of a
            class is none of them.
        problems: What is damaged or missing, one line each, with byte ranges where they are known.
        notes: What is whole but worth knowing, e.g. that a file has another suffix than its format.
    """

    path: Path
    format: Format
    nbytes: int
    state_dicts: Mapping[str, StateDictInfo]
    main: str | None
    is_module: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tensors(self) -> StateDictInfo:
        """The main state dict; empty where there is none."""
        return {} if self.main is None else self.state_dicts[self.main]


#: Fields of `Contents` that are lines of text.
_LINES = ("refused", "calls", "problems", "notes")


@dataclass
class ContentsBuilder:
    """What a reader has met in a file so far; the fields are those of `Contents`."""

    path: Path
    format: Format
    state_dicts: dict[str, dict[str, TensorInfo]] = field(default_factory=dict)
    main: str | None = None
    is_module: dict[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, path: str, name: str, info: TensorInfo) -> None:
        """Add a tensor to the state dict at a path."""
        self.state_dicts.setdefault(path, {})[name] = info

    def add_names(self, part: Contents) -> None:
        """Add the names of code in a file that is a part of this one."""
        self.refused.update(dict.fromkeys(part.refused))
        self.calls.update(dict.fromkeys(part.calls))

    def add_part(self, part: Contents, prefix: str) -> None:
        """Add the names of code, the problems and the notes of a file that is a part of this one."""
        self.add_names(part)
        self.problems += [f"{prefix}{problem}" for problem in part.problems]
        self.notes += [f"{prefix}{note}" for note in part.notes]

    def report(self, state_dicts: Mapping[str, StateDictInfo] | None = None) -> None:
        """Add a line for each tensor that cannot be read, of all if None: a problem if it is damaged, else a note."""
        for path, tensors in (self.state_dicts if state_dicts is None else state_dicts).items():
            for name, info in tensors.items():
                if info.problem:
                    line = f"{f'{shortened(path)}: ' if path else ''}'{shortened(name)}' {info.problem}"
                    (self.notes if info.unsupported else self.problems).append(line)

    def build(self, nbytes: int | None = None) -> Contents:
        """The contents; their size on disk is that of the file if None."""
        fields = {**vars(self), "nbytes": self.path.stat().st_size if nbytes is None else nbytes}
        lines = {key: tuple(fields[key]) for key in _LINES}
        return Contents(**{**fields, **lines})


#: What a value takes that is printed, and a character: as it is, or as an escape.
_VALUE_STEPS, _VALUE_BYTES = 4, 100
_PLAIN_BYTES, _ESCAPED_BYTES = 2, 12
_FEWEST_LINES = 10


def limit_output(contents: Contents, budget: Budget) -> Contents:
    """The contents without what is too much to print; a note names what is left out."""
    for path, tensors in contents.state_dicts.items():
        _count(path, budget)
        for name, info in tensors.items():
            for shown in (name, info.problem, info.quantization):
                _count(shown, budget)
    metadata = {name: value for name, value in contents.metadata.items() if _fits({name: value}, budget)}
    left_out = []
    if large := [name for name in contents.metadata if name not in metadata]:
        more = f" and {len(large) - 1:,} more" if len(large) > 1 else ""
        left_out.append(f"what it says under '{shortened(large[0])}'{more} is too large to be shown")
    config = contents.config
    if config is not None and not _fits(config, budget):
        config = None
        left_out.append("its configuration is too large to be shown")
    lines: dict[str, Any] = {key: _first(getattr(contents, key), budget) for key in _LINES}
    lines["notes"] += tuple(left_out)
    return replace(contents, metadata=metadata, config=config, **lines)


def _first(lines: Sequence[str], budget: Budget) -> tuple[str, ...]:
    """As many lines as may be printed, but always some."""
    for number, line in enumerate(lines):
        if number >= _FEWEST_LINES and not _fits(line, budget):
            return (*lines[:number], f"and {len(lines) - number:,} more")
    return tuple(lines)


def _fits(value: Any, budget: Budget) -> bool:
    try:
        _count(value, budget)
    except UnreadableError:
        return False
    return True


def _count(value: Any, budget: Budget) -> None:
    """Count a value and all inside it, as often as it is referred to."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            plain = each.isascii() and each.isprintable()
            budget.work(1 + len(each) // 256, (_PLAIN_BYTES if plain else _ESCAPED_BYTES) * len(each))
        elif isinstance(each, (Mapping, list, tuple)):
            budget.work(_VALUE_STEPS * (1 + len(each)), _VALUE_BYTES * (1 + len(each)))
            waiting.extend(each)
            if isinstance(each, Mapping):
                waiting.extend(each.values())
