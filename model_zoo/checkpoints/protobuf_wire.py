"""The wire format of protocol buffers, read in place: nothing is copied, and no length is believed.

The official parser takes a whole message or none, and copies it; a model cut short still has most of its tensors.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

from model_zoo.checkpoints.budget import Budget, UnreadableError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_BYTES_OF_VARINT = 10
#: Text that is shown.
_MOST_TEXT = 1_000_000
#: What Python takes for a short one.
_TEXT_BYTES = 80
#: Bytes of packed numbers that are unpacked at once.
_CHUNK = 2**20


def numeric(number: int) -> int:
    """The tag of a field that holds an integer."""
    return number << 3 | _VARINT


def binary(number: int) -> int:
    """The tag of a field that holds a string, a message or packed numbers."""
    return number << 3 | _BYTES


@dataclass(slots=True)
class Field:
    """One field of a message: its tag, as `numeric` and `binary` return it, and a number, or the range of its bytes.

    The value of bytes is how many there should be; they end earlier where the file does.
    """

    tag: int
    value: int
    begin: int
    end: int

    @property
    def is_bytes(self) -> bool:
        """Whether it is a string, a message or packed numbers."""
        return self.tag & 7 == _BYTES

    @property
    def whole(self) -> bool:
        """Whether all its bytes are there."""
        return self.tag & 7 != _BYTES or self.end - self.begin == self.value


def fields(content: mmap.mmap, begin: int, end: int, budget: Budget) -> Iterator[Field]:
    """The fields of the message in a range of bytes. One that is cut off by the end comes last and is not `whole`."""
    position = begin
    while position < end:
        budget.work(1)
        tag = content[position]
        if tag < 0x80:  # as nearly all are
            position += 1
        else:
            tag, position = varint(content, position, end)
        if tag < 8:
            raise UnreadableError(f"byte {position} is no field of a message")
        kind = tag & 7
        if kind == _VARINT:
            value, position = varint(content, position, end)
            yield Field(tag, value, position, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
            if position + size > end:
                raise UnreadableError(f"a number at byte {position} is cut off")
            yield Field(tag, int.from_bytes(content[position : position + size], "little"), position, position)
            position += size
        elif kind == _BYTES:
            size, position = varint(content, position, end)
            yield Field(tag, size, position, min(position + size, end))
            position += size
        else:
            raise UnreadableError(f"byte {position} is no field of a message")


def varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """A number of variable length, and where the next byte is."""
    value = 0
    for shift in range(0, 7 * _MOST_BYTES_OF_VARINT, 7):
        if position >= end:
            raise UnreadableError(f"a number at byte {position} is cut off")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
    raise UnreadableError(f"the number before byte {position} has no end")


def signed(value: int) -> int:
    """A number as int64 has it."""
    return value - 2**64 if value >= 2**63 else value


def text(content: mmap.mmap, field: Field, budget: Budget) -> str:
    """A string."""
    size = field.end - field.begin
    if size > _MOST_TEXT:
        raise UnreadableError(f"a text of {size} bytes at byte {field.begin} is too long")
    budget.work(1, _TEXT_BYTES + size)
    return content[field.begin : field.end].decode("utf-8", "replace")


def varints(content: mmap.mmap, field: Field) -> Iterator[int]:
    """Numbers of a repeated field, packed or one by one."""
    if not field.is_bytes:
        yield field.value
        return
    position = field.begin
    while position < field.end:
        value, position = varint(content, position, field.end)
        yield value


def packed_integers(content: mmap.mmap, field: Field, size: int) -> bytes:
    """Packed numbers of variable length, as `size` low bytes of each: 1, 2, 4 or 8."""
    import numpy as np

    parts, position = [], field.begin
    while position < field.end:
        stop = min(position + _CHUNK, field.end)
        while stop < min(position + _CHUNK + _MOST_BYTES_OF_VARINT, field.end) and content[stop - 1] >= 0x80:
            stop += 1  # to the end of a number
        part = np.frombuffer(content[position:stop], np.uint8)
        last = np.flatnonzero(part < 0x80)
        if not last.size or last[-1] != part.size - 1:
            raise UnreadableError(f"a number at byte {stop} is cut off")
        first = np.concatenate([[0], last[:-1] + 1])
        digit = np.arange(part.size) - np.repeat(first, last - first + 1)
        if int(digit.max()) >= _MOST_BYTES_OF_VARINT:
            raise UnreadableError(f"a number before byte {stop} has no end")
        numbers = np.add.reduceat((part & 0x7F).astype(np.uint64) << (7 * digit).astype(np.uint64), first)
        parts.append(numbers.astype(f"<u{size}").tobytes())
        position = stop
    return b"".join(parts)
