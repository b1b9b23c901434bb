"""What is in a model file, as far as it can be told without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Format(StrEnum):
    """Kinds of files that are read."""

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
    """

    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    problem: str | None = None
    unsupported: bool = False
    quantization: Mapping[str, Any] | None = None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class ValueFigures:
    """What the values of one tensor are like; None where there is no finite value, or where they are no numbers.

    Args:
        non_finite: How many are NaN or infinite.
    """

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
        metadata: What else is said: epochs, versions, hyperparameters, inputs and outputs of a graph …; JSON values.
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
