"""One tensor of an ONNX file: in the file as bytes or as numbers, or in a file beside it."""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import TensorInfo
from model_zoo.checkpoints.dtypes import ITEM_SIZES
from model_zoo.checkpoints.protobuf_wire import Field, binary, fields, numeric, packed_integers, signed, text, varints
from model_zoo.checkpoints.sharded import member
from model_zoo.checkpoints.stored_tensor import (
    MOST_DIMENSIONS,
    FileBytes,
    Source,
    StoredTensor,
    UnpackedBytes,
    checked_shape,
)
from model_zoo.utils.text import printable

#: Types by their numbers in ONNX.
DTYPES = {
    **dict(enumerate(("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"), 1)),
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16"},
    **{17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz"},
    **{21: "uint4", 22: "int4", 23: "float4_e2m1", 24: "float8_e8m0fnu"},
}

#: Fields of a TensorProto.
_DIMS, _TYPE, _NAME = (numeric(1), binary(1)), numeric(2), binary(8)
_EXTERNAL, _LOCATION, _ELSEWHERE = binary(13), numeric(14), 1
_KEY, _VALUE = binary(1), binary(2)
#: Numbers of fields with values: stored as the file has them, or packed into numbers of variable length.
_PLAIN, _PACKED = (9, 4, 10), (5, 7, 11)


@dataclass
class OnnxTensor:
    """What one TensorProto says.

    Args:
        external: Where its values are in another file, by ONNX's keys; of use only if `elsewhere`.
    """

    name: str = ""
    shape: list[int] = field(default_factory=list)
    type: int = 0
    values: list[Field] = field(default_factory=list)
    external: dict[str, str] = field(default_factory=dict)
    elsewhere: bool = False

    @property
    def location(self) -> str | None:
        """Name of the file its values are in, if that is another one."""
        location = self.external.get("location") if self.elsewhere else None
        return None if location is None else printable(location)


class OnnxTensors:
    """The tensors of one ONNX file, and the files beside it, each looked for once."""

    def __init__(self, path: Path, content: mmap.mmap, budget: Budget) -> None:
        self._path, self._content, self._budget = path, content, budget
        self._files: dict[str, tuple[Path, int] | str] = {}

    def read(self, message: Field) -> OnnxTensor:
        """Read a TensorProto, but not its values."""
        content, budget, tensor = self._content, self._budget, OnnxTensor()
        for part in fields(content, message.begin, message.end, budget):
            if part.tag in _DIMS:
                left = MOST_DIMENSIONS + 1 - len(tensor.shape)  # one too many is enough to tell
                tensor.shape += islice(map(signed, varints(content, part)), left)
            elif part.tag == _TYPE:
                tensor.type = part.value
            elif part.tag == _NAME:
                tensor.name = text(content, part, budget)
            elif part.tag >> 3 in _PLAIN or part.tag >> 3 in _PACKED:
                if len(tensor.values) < 2:  # one too many is enough to tell
                    tensor.values.append(part)
            elif part.tag == _EXTERNAL:
                pair = {
                    each.tag: text(content, each, budget)
                    for each in fields(content, part.begin, part.end, budget)
                    if each.is_bytes
                }
                tensor.external[pair.get(_KEY, "")] = pair.get(_VALUE, "")
            elif part.tag == _LOCATION:
                tensor.elsewhere = part.value == _ELSEWHERE
        budget.tensor(len(tensor.shape))
        return tensor

    def info(self, tensor: OnnxTensor) -> TensorInfo:
        """A tensor with its values, or why they cannot be read."""
        dtype = DTYPES.get(tensor.type, f"type {tensor.type}")
        try:
            shape = checked_shape(tensor.shape)
        except UnreadableError as error:
            return TensorInfo.unreadable(error, dtype)
        size = math.prod(shape) * ITEM_SIZES.get(dtype, 0)
        try:
            source = self._external(tensor.external, size) if tensor.elsewhere else self._internal(tensor, dtype, size)
        except UnreadableError as error:
            return TensorInfo(shape, dtype, size, str(error))
        return TensorInfo.of(StoredTensor(source, dtype, shape))

    def _external(self, entries: dict[str, str], size: int) -> FileBytes:
        numbers = {key: entries[key] for key in ("offset", "length") if key in entries}
        if any(not (value.isascii() and value.isdigit() and len(value) < 20) for value in numbers.values()):
            raise UnreadableError("has no numbers for its place in another file")
        file, file_size = self._file(entries.get("location", ""))
        length = int(numbers.get("length", size))
        if length < size:
            raise UnreadableError(f"has {length} bytes in {printable(file.name)} where it needs {size}")
        return FileBytes.of(file, int(numbers.get("offset", 0)), size, file_size)

    def _file(self, name: str) -> tuple[Path, int]:
        """A file beside the model, and its size."""
        if name not in self._files:
            self._budget.work(150 + len(name) // 8)
            try:
                path = member(self._path.parent, name)
                self._budget.add_file(path)
                self._files[name] = path, path.stat().st_size
            except UnreadableError as error:
                self._files[name] = str(error)
        file = self._files[name]
        if isinstance(file, str):
            raise UnreadableError(file)
        return file

    def _internal(self, tensor: OnnxTensor, dtype: str, size: int) -> Source:
        path = self._path
        if not tensor.values and size == 0:
            return FileBytes(path, 0, 0, 0)
        if len(tensor.values) != 1 or not tensor.values[0].is_bytes:
            raise UnreadableError("has no values, or in more than one form")
        (values,) = tensor.values
        if values.tag >> 3 in _PLAIN:
            return FileBytes(path, values.begin, values.value, values.end - values.begin)
        if not values.whole:
            raise UnreadableError(
                f"bytes {values.end} to {values.begin + values.value} lie beyond the end of {path.name}"
            )
        # Half precision and everything smaller than 32 bits is kept as integers, one for each value.
        return UnpackedBytes(size, lambda: _unpacked(path, values, dtype))


def _unpacked(path: Path, values: Field, dtype: str) -> bytes:
    item = ITEM_SIZES[dtype]
    if item > 8:
        raise UnreadableError(f"values of {dtype} are no integers")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return packed_integers(content, values, item)
