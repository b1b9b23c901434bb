"""npz: a zip file of numpy arrays."""

from __future__ import annotations

import io
import warnings
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

from model_zoo.checkpoints.budget import SpentError
from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.dtypes import ITEM_SIZES
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.stored_tensor import (
    FileBytes,
    Opened,
    StoredTensor,
    UnpackedBytes,
    UnreadableError,
    checked_shape,
    describe,
    file_bytes,
    row_major,
    tensor_problems,
)
from model_zoo.checkpoints.zip_records import ZipRecords

if TYPE_CHECKING:
    import numpy as np

#: Of the header before each array; numpy itself allows 10,000 bytes of text in it.
HEADER_BYTES = 16_384
_MAX_TEXT = 10_000
#: Longer headers have many dimensions or fields; numpy may take them apart word by word, as Python 2 wrote them.
_USUAL_HEADER_BYTES = 256
#: What numpy raises for headers that are damaged in one way or another.
_NO_HEADER = (
    *(ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError),
    *(KeyError, IndexError, AttributeError, SystemError),
)


def is_npz(archive: ZipRecords) -> bool:
    """Whether a zip file holds numpy arrays."""
    return any(name.endswith(".npy") for name in archive.records)


def open_npz(archive: ZipRecords) -> Opened:
    """Read the arrays of a zip file. Arrays of Python objects are pickles, and stay unread."""
    infos: dict[str, TensorInfo] = {}
    places: dict[str, StoredTensor] = {}
    notes: list[str] = []
    for record in archive.records:
        if not record.endswith(".npy"):
            notes.append(f"{printable(record)} is no array")
            continue
        name = record.removesuffix(".npy")
        try:
            archive.budget.tensor(0)
            infos[name], place = _array(archive, record)
        except SpentError as error:
            archive.problems.append(str(error))
            break
        except UnreadableError as error:
            infos[name], place = TensorInfo((), "unknown", 0, str(error)), None
        if place is not None and infos[name].problem is None:
            places[name] = place
    problems, unsupported = tensor_problems({"": infos})
    contents = Contents(
        path=archive.path,
        format=Format.NPZ,
        nbytes=archive.file_size,
        state_dicts={"": infos} if infos else {},
        main="" if infos else None,
        problems=(*archive.problems, *problems),
        notes=(*notes, *unsupported),
    )
    return Opened(contents, {"": places})


def _array(archive: ZipRecords, record: str) -> tuple[TensorInfo, StoredTensor | None]:
    head = archive.head(record, HEADER_BYTES)
    length = min(len(head), int.from_bytes(head[8:10], "little"))
    archive.budget.work(length if length <= _USUAL_HEADER_BYTES else 6 * length)
    shape, by_column, dtype, begin = read_header(head)
    return located(_behind(archive, record, begin), shape, by_column, dtype)


def located(
    source: FileBytes | UnpackedBytes, shape: tuple[int, ...], by_column: bool, dtype: np.dtype[Any]
) -> tuple[TensorInfo, StoredTensor | None]:
    """An array as it is shown, and where its values are.

    Args:
        source: What follows the header.
    """
    if dtype.hasobject:
        problem = "holds Python objects, which only running a pickle would make"
        return TensorInfo(shape, "object", source.size, problem, unsupported=True), None
    name = dtype.name
    if name not in ITEM_SIZES or not dtype.isnative:
        kind = printable(str(dtype) if dtype.isnative else f"{dtype} (big-endian)")
        return TensorInfo(shape, kind, source.size, f"values of the type {kind} are not read", True), None
    stride = tuple(reversed(row_major(tuple(reversed(shape))))) if by_column else None
    place = StoredTensor(source, name, shape, stride)
    return describe(place), place


def read_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """What stands before the values of an array: shape, whether they lie by columns, type; and where they begin.

    Raises:
        UnreadableError: It is no numpy array.
    """
    from numpy.lib import format as npy

    stream = io.BytesIO(head)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with warnings.catch_warnings(action="ignore"):  # that Python 2 wrote it, or a type is out of use
            shape, by_column, dtype = read(stream, max_header_size=_MAX_TEXT)
    except _NO_HEADER as error:
        raise UnreadableError(f"is no numpy array: {printable(str(error))}") from error
    return checked_shape(shape), by_column, dtype, stream.tell()


def _behind(archive: ZipRecords, record: str, header: int) -> FileBytes | UnpackedBytes:
    """The bytes of a record behind its header."""
    source = archive.source(record)
    size = max(0, source.size - header)
    if isinstance(source, FileBytes):
        return file_bytes(source.path, source.begin + header, size, archive.file_size)
    read = source.read
    return UnpackedBytes(size, lambda: memoryview(read())[header:])
