"""The records of a zip file and where they lie, also when its directory is lost; each is unpacked within a limit."""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.places import FileBytes, UnpackedBytes, UnreadableError, file_bytes

#: Of the directory at the end of a zip file: some 200,000 records.
_MOST_DIRECTORY_BYTES = 16 * 2**20
_MOST_RECORDS = 200_000
_LOCAL, _DESCRIPTOR, _DIRECTORY = b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02"
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
#: Stands for a size that is told elsewhere.
_LARGE = 0xFFFFFFFF
#: What deflate can do at best; a record that promises more is lying.
_MOST_RATIO = 1032


@dataclass(frozen=True)
class Record:
    """One file of a zip file.

    Args:
        begin: Of its bytes in the file; None if even that is not known.
        packed: Bytes in the file; as many as `size` unless it is deflated.
        size: Bytes once unpacked.
        problem: Why it cannot be read.
    """

    name: str
    begin: int
    packed: int
    size: int
    deflated: bool
    problem: str | None = None


@dataclass(frozen=True)
class ZipRecords:
    """All records by name, in the order of the file.

    Args:
        problems: What is damaged.
    """

    path: Path
    file_size: int
    records: Mapping[str, Record]
    problems: list[str] = field(default_factory=list)

    def source(self, name: str) -> FileBytes | UnpackedBytes:
        """Where a record's bytes are.

        Raises:
            UnreadableError: There is none of that name, or it cannot be read.
        """
        record = self._record(name)
        if record.deflated:
            return UnpackedBytes(record.size, lambda: self._inflate(record))
        return file_bytes(self.path, record.begin, record.size, self.file_size)

    def read(self, name: str, limit: int) -> bytes:
        """A small record.

        Raises:
            UnreadableError: It is missing, damaged, or larger than `limit` bytes.
        """
        record = self._record(name)
        if record.size > limit:
            raise UnreadableError(
                f"its record {printable(name)} has {record.size} bytes, more than the {limit} allowed"
            )
        if record.deflated:
            return self._inflate(record)
        with self.path.open("rb") as file:
            file.seek(record.begin)
            return file.read(record.size)

    def head(self, name: str, size: int) -> bytes:
        """The first bytes of a record, once unpacked.

        Raises:
            UnreadableError: It is missing or damaged.
        """
        record = self._record(name)
        with self.path.open("rb") as file:
            file.seek(record.begin)
            start = file.read(min(size, record.packed))
        if not record.deflated:
            return start
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, size)
        except zlib.error as error:
            raise UnreadableError(f"its record {printable(name)} is damaged: {error}") from error

    def _record(self, name: str) -> Record:
        record = self.records.get(name)
        if record is None:
            raise UnreadableError(f"its record {printable(name)} is missing")
        if record.problem:
            raise UnreadableError(f"its record {printable(name)} {record.problem}")
        return record

    def _inflate(self, record: Record) -> bytes:
        with self.path.open("rb") as file:
            file.seek(record.begin)
            packed = file.read(record.packed)
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = unpacker.decompress(packed, record.size + 1)
        except zlib.error as error:
            raise UnreadableError(f"its record {printable(record.name)} is damaged: {error}") from error
        if len(content) != record.size:
            raise UnreadableError(f"its record {printable(record.name)} does not unpack to {record.size} bytes")
        return content


def read_zip(path: Path, begin: int = 0, size: int | None = None) -> ZipRecords:
    """Find the records of a zip file, or of one that lies inside another file.

    Raises:
        UnreadableError: It has too many records.
    """
    file_size = path.stat().st_size
    end = file_size if size is None else min(begin + size, file_size)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            with zipfile.ZipFile(_Window(content, begin, end)) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error, EOFError) as error:
            records = list(_scan(content, begin, end))
            problem = f"the directory of the zip file is lost or damaged ({printable(str(error))})"
            return _collect(path, file_size, records, [f"{problem}: {len(records)} records were found without it"])
        records = [_record(content, info, begin, end) for info in infos]
    return _collect(path, file_size, records, [])


def _collect(path: Path, file_size: int, records: list[Record], problems: list[str]) -> ZipRecords:
    twice = [name for name, count in Counter(record.name for record in records).items() if count > 1]
    problems += [
        f"{printable(name)} is in the zip file more than once: which one is meant cannot be told" for name in twice
    ]
    by_name = {record.name: record for record in records}
    for name in twice:
        old = by_name[name]
        by_name[name] = Record(old.name, old.begin, old.packed, old.size, old.deflated, "is there more than once")
    return ZipRecords(path, file_size, by_name, problems)


def _record(content: mmap.mmap, info: zipfile.ZipInfo, begin: int, end: int) -> Record:
    header = begin + info.header_offset
    problem, data = None, end
    if not 0 <= header <= end - _LOCAL_HEADER.size or content[header : header + 4] != _LOCAL:
        problem = f"lies at byte {header}, where there is none"
    else:
        names = struct.unpack_from("<2H", content, header + 26)
        data = header + _LOCAL_HEADER.size + sum(names)
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if info.flag_bits & _ENCRYPTED:
        problem = "is encrypted"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"is packed by method {info.compress_type}, which is not read"
    elif info.file_size > (info.compress_size * _MOST_RATIO if deflated else info.compress_size):
        problem = f"promises {info.file_size} bytes out of {info.compress_size}"
    return Record(info.filename, data, info.compress_size, info.file_size, deflated, problem)


def _scan(content: mmap.mmap, begin: int, end: int) -> Iterator[Record]:
    """Find records by the headers before them, as far as the file goes."""
    position = begin
    for _ in range(_MOST_RECORDS):
        position = content.find(_LOCAL, position, end)
        if position < 0 or position + _LOCAL_HEADER.size > end:
            return
        fields = _LOCAL_HEADER.unpack_from(content, position)
        flags, method, packed, size, name_length, extra_length = fields[2], fields[3], *fields[7:]
        data = position + _LOCAL_HEADER.size + name_length + extra_length
        if data > end:
            return
        name = content[position + _LOCAL_HEADER.size : data - extra_length].decode("utf-8", "replace")
        if _LARGE in (packed, size):
            packed, size = _large_sizes(content[data - extra_length : data], packed, size)
        if flags & _SIZES_FOLLOW and not packed:
            packed, size = _described(content, data, end)
        deflated = method == zipfile.ZIP_DEFLATED
        problem = None if method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else f"is packed by method {method}"
        yield Record(name, data, packed, size if deflated else packed, deflated, problem)
        position = min(data + packed, end)
    raise UnreadableError(f"has more than {_MOST_RECORDS} records")


def _large_sizes(extra: bytes, packed: int, size: int) -> tuple[int, int]:
    """Sizes of a record as zip64 has them, in the first extra field."""
    if len(extra) >= 20 and extra[:2] == b"\x01\x00":
        size, packed = struct.unpack_from("<2Q", extra, 4)
    return packed, size


def _described(content: mmap.mmap, data: int, end: int) -> tuple[int, int]:
    """Sizes of a record whose header left them open: they stand behind it, where they agree with the distance."""
    position = data
    while (position := content.find(_DESCRIPTOR, position, end)) >= 0 and position + 16 <= end:
        for form in ("<2I", "<2Q"):
            if position + 8 + struct.calcsize(form) <= end:
                packed, size = struct.unpack_from(form, content, position + 8)
                if packed == position - data:
                    return packed, size
        position += 1
    following = content.find(_DIRECTORY, data, end)
    rest = (following if following >= 0 else end) - data
    return rest, rest


class _Window(io.RawIOBase):
    """A part of a file for `zipfile`, which would read a directory of any size at once."""

    def __init__(self, content: mmap.mmap, begin: int, end: int) -> None:
        self._content, self._begin, self._size, self._position = content, begin, end - begin, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a place before its beginning is asked for")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > _MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory has {wanted} bytes")
        start = self._begin + self._position
        self._position += wanted
        return self._content[start : start + wanted]
