"""What a pickle becomes when it is read as data: names, instances of unknown classes, and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_zoo.utils.text import printable

#: Characters of a module or a class in a message.
_MOST_CHARACTERS = 200


class InertPickleError(Exception):
    """The pickle is damaged, or a part of it makes no sense."""


@dataclass(frozen=True)
class Global:
    """The name of a class or function."""

    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module[:_MOST_CHARACTERS]}.{self.name[:_MOST_CHARACTERS]}")


@dataclass(eq=False, slots=True)
class Inert:
    """Stands for an instance of a class that was not imported, or for the result of a call that was not made.

    Args:
        type_name: Of the class or function.
        arguments: What the call would have been given.
        state: The attributes the instance had.
        raw_state: Its state where that is no dictionary.
    """

    type_name: str
    arguments: tuple[object, ...] = field(default=(), repr=False)  # values may refer to others without end
    state: dict[object, object] = field(default_factory=dict, repr=False)
    raw_state: object = field(default=None, repr=False)


@dataclass(frozen=True)
class Storage:
    """A block of numbers kept outside the pickle.

    Args:
        dtype: Name of the torch dtype; None if only the views have one, and `numel` then counts bytes.
    """

    key: str
    numel: int
    dtype: str | None


@dataclass(frozen=True, eq=False, slots=True)
class TensorView:
    """A tensor: a view of a storage. Offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    quantizer: Quantizer | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False, slots=True)
class Quantizer:
    """How the integers of a quantized tensor become numbers: one scale for all, or one for each index of `axis`."""

    scheme: str
    scale: float | TensorView
    zero_point: int | TensorView
    axis: int | None = None


@dataclass(frozen=True)
class OddTensor:
    """A tensor of which only this much is known.

    Args:
        problem: Why its values cannot be read.
        unsupported: It is whole, but of a kind that is not read.
    """

    problem: str
    unsupported: bool = False
    dtype: str = "unknown"
    size: tuple[int, ...] = ()


#: A pickled value that is a tensor.
AnyTensor = TensorView | OddTensor
#: JSON values.
Json = Mapping[str, Any] | list[Any] | str | int | float | bool | None
