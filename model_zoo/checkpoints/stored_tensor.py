"""Tensors as a file stores them: where their bytes are, how they are laid out, and whether all of them are there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.checkpoints.budget import UnreadableError

if TYPE_CHECKING:
    import numpy as np

#: Bytes of one value, by torch's names of types.
ITEM_SIZES = {
    **dict.fromkeys(("bool", "uint8", "int8", "float8_e4m3fn", "float8_e4m3fnuz"), 1),
    **dict.fromkeys(("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("uint16", "int16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("uint32", "int32", "float32", "complex32"), 4),
    **dict.fromkeys(("uint64", "int64", "float64", "complex64"), 8),
    "complex128": 16,
}

#: The integers that a quantized tensor is stored as.
QUANTIZED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}

#: Dimensions of a tensor that torch can hold.
MOST_DIMENSIONS = 64
#: Values that can be counted in bytes of any type without leaving 64 bits, sizes of zero left aside.
_MOST_VALUES = 2**58


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Bytes of a file as they are on disk: how many there should be, and how many of them the file has."""

    path: Path
    begin: int
    size: int
    available: int

    @classmethod
    def of(cls, path: Path, begin: int, size: int, file_size: int) -> FileBytes:
        """Bytes of a file that may end too early."""
        return cls(path, begin, size, max(0, min(size, file_size - begin)))


@dataclass(frozen=True, eq=False, slots=True)
class UnpackedBytes:
    """Bytes that a function computes, e.g. because they are compressed."""

    size: int
    read: Callable[[], bytes | memoryview]

    @property
    def available(self) -> int:
        return self.size

    def content(self) -> bytes | memoryview:
        """Compute them; damaged ones, or another number than `size`, are an `UnreadableError`."""
        content = self.read()
        if len(content) != self.size:
            raise UnreadableError(f"{len(content)} bytes were unpacked instead of {self.size}")
        return content


Source = FileBytes | UnpackedBytes


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """The values of one tensor: a view of bytes. Stride and offset count values; None is row-major order."""

    source: Source
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

    def problem(self, item: int) -> str | None:
        """Why the values, each of `item` bytes, cannot be read; None if all of them are there."""
        shape, source = self.shape, self.source
        if self.stride is not None and len(self.stride) != len(shape):
            return f"{len(shape)} dimensions with {len(self.stride)} strides"
        if self.offset < 0 or min(self.stride or (), default=0) < 0:
            return "negative sizes"
        count = math.prod(shape)
        if count == 0:
            return None
        end = 1 + self.offset + sum((size - 1) * step for size, step in zip(shape, self.strides, strict=True))
        if count > source.size // item or end * item > source.size:
            return f"needs more than the {source.size // item} values of its storage"
        if end * item <= source.available:
            return None
        missing = max(source.available, self.offset * item)
        if isinstance(source, FileBytes):
            begin = source.begin
            return f"bytes {begin + missing} to {begin + end * item} lie beyond the end of {source.path.name}"
        return f"bytes {missing} to {end * item} are missing"


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of values in row-major order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def checked_shape(sizes: Iterable[int]) -> tuple[int, ...]:
    """The sizes of a tensor from a file; a shape that no tensor has is an `UnreadableError`."""
    shape = tuple(islice(sizes, MOST_DIMENSIONS + 1))
    if len(shape) > MOST_DIMENSIONS:
        raise UnreadableError(f"has more than {MOST_DIMENSIONS} dimensions")
    if any(size < 0 or size >= 2**63 for size in shape) or math.prod(max(size, 1) for size in shape) > _MOST_VALUES:
        first = [size if abs(size) < 2**64 else "more than 2^64" for size in shape[:8]]
        raise UnreadableError(f"has a shape that no tensor can have: {first}")
    return shape


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy type of a torch type's name; numpy has no complex numbers of half precision, and takes pairs for them.
    A `KeyError` if there is none.
    """
    import ml_dtypes  # noqa: F401  adds bfloat16 and the types of 8 bits to numpy, under torch's names
    import numpy as np

    if name not in ITEM_SIZES:
        raise KeyError(name)
    return np.dtype([("real", np.float16), ("imag", np.float16)] if name == "complex32" else name)
