"""numpy files: .npz and .npy, known by their headers; arrays that a user gives are unpacked only once they fit."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

from model_zoo.checkpoints.budget import Budget, SpentError, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format, TensorInfo
from model_zoo.checkpoints.stored_tensor import (
    ITEM_SIZES,
    FileBytes,
    Source,
    StoredTensor,
    UnpackedBytes,
    checked_shape,
    numpy_dtype,
    row_major,
)
from model_zoo.checkpoints.zip_records import ZipRecords, read_zip
from model_zoo.utils.errors import UserError
from model_zoo.utils.text import printable

if TYPE_CHECKING:
    import numpy as np

#: Of the header before each array; numpy itself allows 10,000 bytes of text in it.
_HEADER_BYTES, _MOST_TEXT = 16_384, 10_000
#: Longer headers have many dimensions or fields; numpy may take them apart word by word, as Python 2 wrote them.
_USUAL_HEADER_BYTES = 256
#: What numpy raises for headers that are damaged in one way or another.
_NO_HEADER = (
    *(ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError),
    *(KeyError, IndexError, AttributeError, SystemError),
)
_HINT = "save it again with numpy.savez"


@dataclass(frozen=True)
class StoredArray:
    """An array of which only the header was read."""

    path: Path
    name: str
    stored: StoredTensor
    archive: ZipRecords | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return numpy_dtype(self.stored.dtype)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Its values; a `UserError` if they are damaged."""
        from model_zoo.checkpoints.values import read_values

        try:
            if self.archive is not None:
                self.archive.verify(f"{self.name}.npy")
            return read_values(self.stored)
        except (UnreadableError, OSError) as error:
            raise UserError(f"cannot read {self.path}: '{self.name}': {error}", _HINT) from error


def open_arrays(path: Path, single: str = "array") -> dict[str, StoredArray]:
    """Read the headers of an .npz or .npy file, whose array is called `single`.

    Raises:
        UserError: It is neither, it is damaged, or it holds something other than arrays of numbers.
    """
    archive = None
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
        if head.startswith(b"PK"):
            budget = Budget()
            budget.add_file(path)
            archive = read_zip(path, budget)
            contents = read_npz(archive)
            problems, infos = [*contents.problems, *contents.notes], contents.tensors
        else:
            size = path.stat().st_size
            info = _array_info(head, FileBytes(path, 0, size, size), size)
            problems, infos = [info.problem] if info.problem else [], {single: info}
        if problems:
            raise UnreadableError(problems[0])
    except (UnreadableError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}", _HINT) from error
    return {name: StoredArray(path, name, info.stored, archive) for name, info in infos.items() if info.stored}


def read_arrays(stored: Mapping[str, StoredArray], copies: int = 1) -> dict[str, np.ndarray]:
    """The values of some arrays; a `UserError` if they are damaged, or if so many copies do not fit in memory."""
    from model_zoo.checkpoints.values import check_free_memory

    needed = copies * sum(array.nbytes for array in stored.values())
    check_free_memory(needed, str(next(iter(stored.values())).path) if stored else "", "give fewer samples")
    return {name: array.read() for name, array in stored.items()}


def read_npz(archive: ZipRecords) -> Contents:
    """Read the arrays of a zip file. Arrays of Python objects are pickles, and stay unread."""
    built = ContentsBuilder(archive.path, Format.NPZ)
    for record in archive.records:
        if not record.endswith(".npy"):
            built.notes.append(f"{printable(record)} is no array")
            continue
        try:
            archive.budget.tensor()
            info = _record_info(archive, record)
        except SpentError as error:
            archive.problems.append(str(error))
            break
        except UnreadableError as error:
            info = TensorInfo.unreadable(error)
        built.add("", record.removesuffix(".npy"), info)
    built.problems += archive.problems
    built.report()
    built.main = "" if built.state_dicts else None
    return built.build()


def _record_info(archive: ZipRecords, record: str) -> TensorInfo:
    head = archive.head(record, _HEADER_BYTES)
    length = min(len(head), int.from_bytes(head[8:10], "little"))
    archive.budget.work(length if length <= _USUAL_HEADER_BYTES else 6 * length)
    return _array_info(head, archive.source(record), archive.file_size)


def _array_info(head: bytes, source: Source, file_size: int) -> TensorInfo:
    shape, by_column, dtype, begin = _header(head)
    size = max(0, source.size - begin)
    if dtype.hasobject:
        problem = "holds Python objects, which only running a pickle would make"
        return TensorInfo(shape, "object", size, problem, unsupported=True)
    if dtype.name not in ITEM_SIZES or not dtype.isnative:
        kind = printable(str(dtype) if dtype.isnative else f"{dtype} (big-endian)")
        return TensorInfo(shape, kind, size, f"values of the type {kind} are not read", unsupported=True)
    values: Source
    if isinstance(source, FileBytes):
        values = FileBytes.of(source.path, source.begin + begin, size, file_size)
    else:
        read = source.read
        values = UnpackedBytes(size, lambda: memoryview(read())[begin:])
    stride = row_major(shape[::-1])[::-1] if by_column else None
    return TensorInfo.of(StoredTensor(values, dtype.name, shape, stride))


def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """What stands before the values of an array: shape, whether they lie by columns, type; and where they begin."""
    from numpy.lib import format as npy

    stream = io.BytesIO(head)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with warnings.catch_warnings(action="ignore"):  # that Python 2 wrote it, or a type is out of use
            shape, by_column, dtype = read(stream, max_header_size=_MOST_TEXT)
    except _NO_HEADER as error:
        raise UnreadableError(f"is no numpy array: {printable(str(error))}") from error
    return checked_shape(shape), by_column, dtype, stream.tell()
