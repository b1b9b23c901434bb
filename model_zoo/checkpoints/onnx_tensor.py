"""One tensor of an ONNX file: in the file as bytes or as numbers, or in a file beside it."""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from model_zoo.checkpoints.budget import Budget
from model_zoo.checkpoints.contents import TensorInfo
from model_zoo.checkpoints.dtypes import ITEM_SIZES
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.protobuf_wire import Field, fields, packed_integers, signed, text, varints
from model_zoo.checkpoints.sharded import member
from model_zoo.checkpoints.stored_tensor import (
    FileBytes,
    StoredTensor,
    UnpackedBytes,
    UnreadableError,
    checked_shape,
    describe,
    file_bytes,
)

#: Types by their numbers in ONNX.
DTYPES = {
    **dict(enumerate(("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"), 1)),
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16"},
    **{17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz"},
    **{21: "uint4", 22: "int4", 23: "float4_e2m1", 24: "float8_e8m0fnu"},
}
_MOST_DIMENSIONS = 64

_DIMS, _TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _UINT64S, _EXTERNAL, _LOCATION = (
    *(1, 2, 4, 5, 7, 8, 9, 10, 11, 13, 14),
)
_ELSEWHERE = 1
#: Values that are stored as the file has them, and those that are packed into numbers of variable length.
_PLAIN, _PACKED = (_RAW, _FLOATS, _DOUBLES), (_INT32S, _INT64S, _UINT64S)
_DATA = (*_PLAIN, *_PACKED)


@dataclass(frozen=True)
class OnnxTensor:
    """What one TensorProto says.

    Args:
        external: Name of the file its values are in, if that is another one.
    """

    name: str
    info: TensorInfo
    place: StoredTensor | None
    external: str | None = None


@dataclass
class _Parts:
    name: str = ""
    shape: list[int] = field(default_factory=list)
    type: int = 0
    data: list[Field] = field(default_factory=list)
    external: dict[str, str] = field(default_factory=dict)
    elsewhere: bool = False


def read_tensor(path: Path, content: mmap.mmap, message: Field, budget: Budget, beside: Beside) -> OnnxTensor:
    """Read a TensorProto, but not its values.

    Args:
        beside: Remembers files that were looked for.

    Raises:
        UnreadableError: The message is damaged.
    """
    parts = _Parts()
    for part in fields(content, message.begin, message.end, budget):
        if part.number == _DIMS:
            left = _MOST_DIMENSIONS + 1 - len(parts.shape)  # one too many is enough to tell
            parts.shape += islice(map(signed, varints(content, part)), left)
        elif part.number == _TYPE and not part.is_bytes:
            parts.type = part.value
        elif part.number == _NAME and part.is_bytes:
            parts.name = text(content, part, budget)
        elif part.number in _DATA:
            if len(parts.data) < 2:  # one too many is enough to tell
                parts.data.append(part)
        elif part.number == _EXTERNAL and part.is_bytes:
            key, value = _pair(content, part, budget)
            parts.external[key] = value
        elif part.number == _LOCATION and not part.is_bytes:
            parts.elsewhere = part.value == _ELSEWHERE
    budget.tensor(len(parts.shape))
    return _located(path, parts, beside)


def _pair(content: mmap.mmap, message: Field, budget: Budget) -> tuple[str, str]:
    found = {
        part.number: text(content, part, budget)
        for part in fields(content, message.begin, message.end, budget)
        if part.is_bytes
    }
    return found.get(1, ""), found.get(2, "")


def _located(path: Path, parts: _Parts, beside: Beside) -> OnnxTensor:
    dtype = DTYPES.get(parts.type, f"type {parts.type}")
    try:
        shape = checked_shape(parts.shape)
    except UnreadableError as error:
        return OnnxTensor(parts.name, TensorInfo((), dtype, 0, str(error)), None)
    size = math.prod(shape) * ITEM_SIZES.get(dtype, 0)
    external = parts.external.get("location") if parts.elsewhere else None
    source: FileBytes | UnpackedBytes
    try:
        source = _external(beside, parts.external, size) if parts.elsewhere else _internal(path, parts, dtype, size)
    except UnreadableError as error:
        info = TensorInfo(shape, dtype, size, str(error))
        return OnnxTensor(parts.name, info, None, None if external is None else printable(external))
    place = StoredTensor(source, dtype, shape)
    return OnnxTensor(parts.name, describe(place), place, None if external is None else printable(external))


class Beside:
    """Files beside an ONNX file, each looked for once."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self._folder, self._budget = folder, budget
        self._found: dict[str, tuple[Path, int] | str] = {}

    def find(self, name: str) -> tuple[Path, int]:
        """A file and its size.

        Raises:
            UnreadableError: It is missing or elsewhere.
        """
        if name not in self._found:
            self._budget.work(150 + len(name) // 8)
            try:
                path = member(self._folder, name)
                self._budget.add_file(path)
                self._found[name] = path, path.stat().st_size
            except UnreadableError as error:
                self._found[name] = str(error)
        found = self._found[name]
        if isinstance(found, str):
            raise UnreadableError(found)
        return found


def _external(beside: Beside, said: dict[str, str], size: int) -> FileBytes:
    numbers = {key: said[key] for key in ("offset", "length") if key in said}
    if any(not (value.isascii() and value.isdigit() and len(value) < 20) for value in numbers.values()):
        raise UnreadableError("has no numbers for its place in another file")
    file, file_size = beside.find(said.get("location", ""))
    length = int(numbers.get("length", size))
    if length < size:
        raise UnreadableError(f"has {length} bytes in {printable(file.name)} where it needs {size}")
    return file_bytes(file, int(numbers.get("offset", 0)), size, file_size)


def _internal(path: Path, parts: _Parts, dtype: str, size: int) -> FileBytes | UnpackedBytes:
    if len(parts.data) != 1 or not parts.data[0].is_bytes:
        if not parts.data and size == 0:
            return FileBytes(path, 0, 0, 0)
        raise UnreadableError("has no values, or in more than one form")
    (data,) = parts.data
    if data.number in _PLAIN:
        return FileBytes(path, data.begin, data.value, data.end - data.begin)
    if not data.whole:
        raise UnreadableError(f"bytes {data.end} to {data.begin + data.value} lie beyond the end of {path.name}")
    # Half precision and everything smaller than 32 bits is kept as integers, one for each value.
    return UnpackedBytes(size, lambda: _unpack(path, data, dtype))


def _unpack(path: Path, data: Field, dtype: str) -> bytes:
    item = ITEM_SIZES[dtype]
    if item > 8:
        raise UnreadableError(f"values of {dtype} are no integers")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return packed_integers(content, data, item)
