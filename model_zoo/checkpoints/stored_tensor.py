"""Where the values of a tensor lie, and whether they are all there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.contents import Contents, StateDictInfo, TensorInfo
from model_zoo.checkpoints.dtypes import ITEM_SIZES
from model_zoo.checkpoints.inert_values import printable, shortened

#: Dimensions of a tensor that torch can hold.
_MOST_DIMENSIONS = 64
#: Values that can be counted in bytes of any type without leaving 64 bits, sizes of zero left aside.
_MOST_VALUES = 2**58


class UnreadableError(Exception):
    """What is wrong with a file, to be said after its name.

    Args:
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str = "give a file that holds a model") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Bytes of a file as they are on disk.

    Args:
        size: How many there should be.
        available: How many of them the file has.
    """

    path: Path
    begin: int
    size: int
    available: int


@dataclass(frozen=True, eq=False, slots=True)
class UnpackedBytes:
    """Bytes that must be worked out first, e.g. because they are compressed.

    Args:
        size: How many there will be.
        read: Works them out.
    """

    size: int
    read: Callable[[], bytes | memoryview]

    @property
    def available(self) -> int:
        return self.size

    def content(self) -> bytes | memoryview:
        """Work them out.

        Raises:
            UnreadableError: They are damaged, or another number.
        """
        content = self.read()
        if len(content) != self.size:
            raise UnreadableError(f"{len(content)} bytes were unpacked instead of {self.size}")
        return content


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """The values of one tensor: a window on bytes, counted in values.

    Args:
        dtype: Name of the torch dtype of what is stored.
        stride: None for values that lie row by row.
        offset: The first value.
    """

    source: FileBytes | UnpackedBytes
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None = None
    offset: int = 0

    @property
    def strides(self) -> tuple[int, ...]:
        """In values, one for each dimension; where there is one index only, any number could stand, also a huge one."""
        if self.stride is None:
            return row_major(self.shape)
        pairs = zip(self.shape, self.stride, strict=True)
        return tuple(step if size > 1 or step <= _MOST_VALUES else 0 for size, step in pairs)


@dataclass(frozen=True)
class Opened:
    """What is in a file, and where the values of its tensors are.

    Args:
        places: As `contents.state_dicts`, without the tensors that cannot be read.
    """

    contents: Contents
    places: Mapping[str, Mapping[str, StoredTensor]]

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that values come from; the one that was opened first."""
        first = {self.contents.path: None} if self.contents.path.is_file() else {}
        sources = (place.source for places in self.places.values() for place in places.values())
        return tuple({**first, **{source.path: None for source in sources if isinstance(source, FileBytes)}})


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of values that lie row by row."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def checked_shape(sizes: Iterable[int]) -> tuple[int, ...]:
    """The sizes of a tensor as a file says them.

    Raises:
        UnreadableError: No tensor has such a shape.
    """
    shape = tuple(islice(sizes, _MOST_DIMENSIONS + 1))
    if len(shape) > _MOST_DIMENSIONS:
        raise UnreadableError(f"has more than {_MOST_DIMENSIONS} dimensions")
    if any(size < 0 or size >= 2**63 for size in shape) or math.prod(max(size, 1) for size in shape) > _MOST_VALUES:
        raise UnreadableError(f"has a shape that no tensor can have: {[_short(size) for size in shape[:8]]}")
    return shape


def _short(size: int) -> int | str:
    return size if abs(size) < 2**64 else "more than 2^64"


def file_bytes(path: Path, begin: int, size: int, file_size: int) -> FileBytes:
    """Bytes of a file that may end too early."""
    return FileBytes(path, begin, size, max(0, min(size, file_size - begin)))


def describe(
    place: StoredTensor, dtype: str | None = None, quantization: Mapping[str, Any] | None = None
) -> TensorInfo:
    """A tensor as it is shown, with why it cannot be read if so.

    Args:
        dtype: If it is called otherwise than what is stored.
    """
    item = ITEM_SIZES.get(place.dtype)
    try:
        checked_shape(place.shape)
    except UnreadableError as error:
        return TensorInfo((), dtype or printable(place.dtype), 0, str(error))
    if item is None:
        problem = f"values of the type {printable(place.dtype)} are not read"
        return TensorInfo(place.shape, dtype or printable(place.dtype), place.source.size, problem, unsupported=True)
    nbytes = math.prod(place.shape) * item
    return TensorInfo(place.shape, dtype or place.dtype, nbytes, _problem(place, item), quantization=quantization)


def tensor_problems(state_dicts: Mapping[str, StateDictInfo]) -> tuple[list[str], list[str]]:
    """One line for each tensor that cannot be read: those that are damaged, and those of a kind that is not read."""
    problems: list[str] = []
    notes: list[str] = []
    for path, tensors in state_dicts.items():
        for name, info in tensors.items():
            if info.problem:
                line = f"{f'{shortened(path)}: ' if path else ''}'{shortened(name)}' {info.problem}"
                (notes if info.unsupported else problems).append(line)
    return problems, notes


def _problem(place: StoredTensor, item: int) -> str | None:
    shape, source = place.shape, place.source
    if place.stride is not None and len(place.stride) != len(shape):
        return f"{len(shape)} dimensions with {len(place.stride)} strides"
    if place.offset < 0 or min(place.stride or (), default=0) < 0:
        return "negative sizes"
    strides, count = place.strides, math.prod(shape)
    if count == 0:
        return None
    last = place.offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if count > source.size // item or (last + 1) * item > source.size:
        return f"needs more than the {source.size // item} values of its storage"
    if (last + 1) * item > source.available:
        first = place.offset * item
        missing = max(source.available, first)
        if isinstance(source, FileBytes):
            begin, end = source.begin + missing, source.begin + (last + 1) * item
            return f"bytes {begin} to {end} lie beyond the end of {source.path.name}"
        return f"bytes {missing} to {(last + 1) * item} are missing"
    return None
