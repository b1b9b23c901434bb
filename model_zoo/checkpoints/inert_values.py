"""What a pickle becomes when it is read as data: names, instances of unknown classes, and tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

#: Characters of a text of the file in a message, of which a file can cause many.
_SHOWN = 200
#: Characters that are taken apart at once, each of which takes fifty bytes then.
_AT_ONCE = 2**16


class InertPickleError(Exception):
    """The pickle is damaged, or a part of it makes no sense."""


@dataclass(frozen=True)
class Global:
    """The name of a class or function."""

    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module[:_SHOWN]}.{self.name[:_SHOWN]}")


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
        dtype: Name of the torch dtype; None if the views tell it, and `numel` then counts bytes.
    """

    key: str
    numel: int
    dtype: str | None


@dataclass(frozen=True, eq=False, slots=True)
class TensorView:
    """A tensor: a window on a storage. Offset and strides count elements."""

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


def escaped(text: str) -> str:
    """Text of a file as it may be shown: whole, on one line, without characters that steer a terminal."""
    parts = (text[begin : begin + _AT_ONCE] for begin in range(0, len(text), _AT_ONCE))
    return text if text.isprintable() else "".join(map(_escaped, parts))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str) -> str:
    """The same for lines of which there is one for each tensor: of 200 characters at most."""
    return escaped(text) if len(text) <= _SHOWN else f"{escaped(text[:_SHOWN])}…"


def printable(text: str) -> str:
    """The same for messages: in ASCII."""
    start = text[: _SHOWN + 1]
    shown = start if start.isprintable() and start.isascii() else start.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def listed(names: Collection[str], most: int = 10) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(shortened(name) for name in islice(names, most))
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
