"""What a recovery is: a readable module that loads the checkpoint, and the choices that no shape could settle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class SettledBy(StrEnum):
    """What a choice rests on."""

    SHAPES = "shapes"
    NAMES = "names"
    CONFIG = "config"
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
