"""The wire format of protocol buffers, read in place: nothing is copied, and no length is believed.

The official parser takes a whole message or none, and copies it; a model cut short still has most of its tensors.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.stored_tensor import ITEM_SIZES

#: Text that is shown, and what Python takes for a short one.
_MOST_TEXT, _TEXT_BYTES = 1_000_000, 80
#: Bytes of packed numbers that are unpacked at once.
_CHUNK = 2**20

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_BYTES_OF_VARINT = 10


def numeric(number: int) -> int:
    """The tag of a field that holds an integer."""
    return number << 3 | _VARINT


def binary(number: int) -> int:
    """The tag of a field that holds a string, a message or packed numbers."""
    return number << 3 | _BYTES


@dataclass(slots=True)
class Field:
    """One field of a message: its tag, and a number, or the range of its bytes.

    The value of bytes is how many there should be; they end earlier where the file does.
    """

    tag: int
    value: int
    begin: int
    end: int

    @property
    def is_bytes(self) -> bool:
        return self.tag & 7 == _BYTES

    @property
    def whole(self) -> bool:
        return not self.is_bytes or self.end - self.begin == self.value


def signed(value: int) -> int:
    """A number as int64 has it."""
    return value - 2**64 if value >= 2**63 else value


class Wire:
    """The wire format of protocol buffers."""

    def __init__(self, content: mmap.mmap, budget: Budget) -> None:
        self._content, self._budget = content, budget

    def fields(self, begin: int, end: int) -> Iterator[Field]:
        """The fields of the message in a range of bytes. One that the end cuts off comes last and is not `whole`."""
        content, position = self._content, begin
        while position < end:
            self._budget.work(1)
            tag = content[position]
            if tag < 0x80:  # as nearly all are
                position += 1
            else:
                tag, position = self._varint(position, end)
            kind = tag & 7
            if tag < 8 or kind not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
                raise UnreadableError(f"byte {position} is no field of a message")
            if kind == _VARINT:
                value, position = self._varint(position, end)
                yield Field(tag, value, position, position)
            elif kind == _BYTES:
                size, position = self._varint(position, end)
                yield Field(tag, size, position, min(position + size, end))
                position += size
            else:
                size = 8 if kind == _FIXED64 else 4
                if position + size > end:
                    raise UnreadableError(f"a number at byte {position} is cut off")
                yield Field(tag, int.from_bytes(content[position : position + size], "little"), position, position)
                position += size

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """A number of variable length, and where the next byte is."""
        value = 0
        for shift in range(0, 7 * _MOST_BYTES_OF_VARINT, 7):
            if position >= end:
                raise UnreadableError(f"a number at byte {position} is cut off")
            byte = self._content[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (2**64 - 1), position
        raise UnreadableError(f"the number before byte {position} has no end")

    def inside(self, message: Field) -> Iterator[Field]:
        return self.fields(message.begin, message.end)

    def last(self, message: Field) -> dict[int, Field]:
        """The first two fields of a small message by their numbers; of several with one number the last counts."""
        return {part.tag >> 3: part for part in self.inside(message) if part.tag >> 3 in (1, 2)}

    def text(self, part: Field | None) -> str:
        if part is None:
            return ""
        size = part.end - part.begin
        if size > _MOST_TEXT:
            raise UnreadableError(f"a text of {size} bytes at byte {part.begin} is too long")
        self._budget.work(1, _TEXT_BYTES + size)
        return self._content[part.begin : part.end].decode("utf-8", "replace")

    def integers(self, part: Field) -> Iterator[int]:
        """Numbers of a repeated field, packed or one by one."""
        if not part.is_bytes:
            yield signed(part.value)
        position = part.begin
        while position < part.end:
            value, position = self._varint(position, part.end)
            yield signed(value)


def packed_integers(path: Path, packed: Field, dtype: str) -> bytes:
    """Packed numbers of variable length in a file, as the low bytes of each that the dtype has."""
    import numpy as np

    item = ITEM_SIZES[dtype]
    if item > 8:
        raise UnreadableError(f"values of {dtype} are no integers")
    content, parts = np.memmap(path, np.uint8, mode="r")[packed.begin : packed.end], []
    while content.size:
        last = np.flatnonzero(content[:_CHUNK] < 0x80)
        if not last.size and content.size < _MOST_BYTES_OF_VARINT:
            raise UnreadableError(f"a number at byte {packed.end} is cut off")
        sizes = np.diff(last, prepend=-1)
        if not last.size or int(sizes.max()) > _MOST_BYTES_OF_VARINT:
            raise UnreadableError(f"a number behind byte {packed.end - content.size} has no end")
        first, part, content = last - sizes + 1, content[: last[-1] + 1], content[last[-1] + 1 :]
        shifts = 7 * (np.arange(part.size) - np.repeat(first, sizes))
        numbers = np.add.reduceat((part & 0x7F).astype(np.uint64) << shifts.astype(np.uint64), first)
        parts.append(numbers.astype(f"<u{item}").tobytes())
    return b"".join(parts)
