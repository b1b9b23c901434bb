"""The records of a zip file and where they lie, also when its directory is lost; each is unpacked within a limit."""

from __future__ import annotations

import mmap
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.stored_tensor import FileBytes, Source, UnpackedBytes
from model_zoo.utils.text import printable

#: What one record of a directory takes, its name aside; and how fast bytes are unpacked.
_RECORD_STEPS, _RECORD_BYTES, _BYTES_FOR_A_STEP = 12, 1200, 512
#: Of an entry of the directory: its fixed part, and what belongs to no format of models.
_ENTRY_BYTES, _MOST_EXTRA_BYTES = 46, 1024
#: What follows the directory, with a comment of any length.
_MOST_END_BYTES = 2**17
#: Bytes that are compared with their checksum at once.
_CHUNK = 2**20
_LOCAL, _DESCRIPTOR, _DIRECTORY = b"PK\x03\x04", re.compile(b"PK\x07\x08"), b"PK\x01\x02"
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
#: Stands for a size that is in another field.
_LARGE = 0xFFFFFFFF
#: What deflate can do at best; a record that promises more is lying.
_MOST_RATIO = 1032


@dataclass(frozen=True, slots=True)
class ZipRecord:
    """One file of a zip file.

    Args:
        packed: Bytes in the file; as many as `size` unless it is deflated.
        size: Bytes once unpacked.
        problem: Why it cannot be read.
        checksum: CRC-32 of its bytes once unpacked; None if the directory is lost.
    """

    name: str
    begin: int
    packed: int
    size: int
    deflated: bool
    problem: str | None = None
    checksum: int | None = None


@dataclass(frozen=True)
class ZipRecords:
    """All records by name, in the order of the file, and what is damaged."""

    path: Path
    file_size: int
    records: Mapping[str, ZipRecord]
    budget: Budget
    problems: list[str] = field(default_factory=list)
    _sources: dict[str, Source] = field(default_factory=dict)

    def source(self, name: str) -> Source:
        if name not in self._sources:
            record = self._record(name)
            self._sources[name] = (
                UnpackedBytes(record.size, lambda: self._inflate(record))
                if record.deflated
                else FileBytes.of(self.path, record.begin, record.size, self.file_size)
            )
        return self._sources[name]

    def read(self, name: str, limit: int) -> bytes:
        """A record of at most `limit` bytes, which takes memory for good."""
        record = self._record(name)
        if record.size > limit:
            size = f"{record.size} bytes, more than the {limit} allowed"
            raise UnreadableError(f"its record {printable(name)} has {size}")
        self.budget.work(record.size // _BYTES_FOR_A_STEP + 20)
        with self.budget.temporary():
            self.budget.memory(record.packed if record.deflated else 0)
            self.budget.memory(record.size)
            content = self._inflate(record) if record.deflated else self._stored(record, record.size)
        self.budget.memory(len(content))
        return content

    def head(self, name: str, size: int) -> bytes:
        """The first bytes of a record, once unpacked."""
        record = self._record(name)
        self.budget.work(size // _BYTES_FOR_A_STEP + 20)
        start = self._stored(record, size)
        return _unpacked(record, start, size) if record.deflated else start

    def verify(self, name: str) -> None:
        """Compare the bytes of a record with its checksum. Those that are packed are compared as they are unpacked."""
        record = self._record(name)
        if not record.deflated:
            checksum, left = 0, record.size
            with self.path.open("rb") as file:
                file.seek(record.begin)
                while left and (part := file.read(min(left, _CHUNK))):
                    checksum, left = zlib.crc32(part, checksum), left - len(part)
            self._compare(record, checksum)

    def _compare(self, record: ZipRecord, checksum: int) -> None:
        if record.checksum not in (None, checksum):
            raise UnreadableError(f"its record {printable(record.name)} is damaged: its checksum differs")

    def _record(self, name: str) -> ZipRecord:
        record = self.records.get(name)
        if record is None:
            raise UnreadableError(f"its record {printable(name)} is missing")
        if record.problem:
            raise UnreadableError(f"its record {printable(name)} {record.problem}")
        return record

    def _stored(self, record: ZipRecord, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(record.begin)
            return file.read(min(size, record.packed, self.file_size))  # memory for as many is taken at once

    def _inflate(self, record: ZipRecord) -> bytes:
        content = _unpacked(record, self._stored(record, record.packed), record.size + 1)
        if len(content) != record.size:
            raise UnreadableError(f"its record {printable(record.name)} does not unpack to {record.size} bytes")
        self._compare(record, zlib.crc32(content))
        return content


def _unpacked(record: ZipRecord, packed: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
    except zlib.error as error:
        raise UnreadableError(f"its record {printable(record.name)} is damaged: {error}") from error


def read_zip(path: Path, budget: Budget, begin: int = 0, size: int | None = None) -> ZipRecords:
    """Find the records of a zip file, or of one that lies inside another file."""
    file_size = path.stat().st_size
    end = file_size if size is None else min(begin + size, file_size)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            with zipfile.ZipFile(_ZipWindow(content, begin, end, budget)) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error, EOFError) as error:
            records = list(_scan(content, begin, end, budget))
            problem = f"the directory of the zip file is lost or damaged ({printable(str(error))})"
            problems = [f"{problem}: {len(records)} records were found without it"]
        else:
            records, problems = [_record(content, info, begin, end) for info in infos], []
    return ZipRecords(path, file_size, _collect(records, problems), budget, problems)


def _collect(records: list[ZipRecord], problems: list[str]) -> dict[str, ZipRecord]:
    """Records by name; which one of two of a name is meant is not known."""
    by_name = {record.name: record for record in records}
    counts, overlapping = Counter(record.name for record in records), _overlapping(by_name.values())
    for name in by_name:
        if counts[name] > 1 or name in overlapping:
            twice = "is in the zip file more than once: which one is meant cannot be told"
            problem = twice if counts[name] > 1 else "is packed into the same bytes as another record"
            problems.append(f"{printable(name)} {problem}")
            by_name[name] = replace(by_name[name], problem=problem)
    return by_name


def _overlapping(records: Iterable[ZipRecord]) -> set[str]:
    """Names of packed records that share bytes: so a few bytes could be unpacked any number of times."""
    shared = set[str]()
    before: ZipRecord | None = None
    for record in sorted((r for r in records if r.deflated and not r.problem), key=lambda r: (r.begin, r.packed)):
        if before is not None and record.begin < before.begin + before.packed:
            shared |= {before.name, record.name}
        if before is None or record.begin + record.packed > before.begin + before.packed:
            before = record
    return shared


def _record(content: mmap.mmap, info: zipfile.ZipInfo, begin: int, end: int) -> ZipRecord:
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
    return ZipRecord(info.filename, data, info.compress_size, info.file_size, deflated, problem, info.CRC)


def _scan(content: mmap.mmap, begin: int, end: int, budget: Budget) -> Iterator[ZipRecord]:
    """Find records by the headers before them, as far as the file goes."""
    position, directory = begin, -1
    described: dict[int, tuple[int, int]] | None = None
    while True:
        position = content.find(_LOCAL, position, end)
        if position < 0 or position + _LOCAL_HEADER.size > end:
            return
        budget.work(_RECORD_STEPS)
        fields = _LOCAL_HEADER.unpack_from(content, position)
        flags, method, packed, size, name_length, extra_length = fields[2], fields[3], *fields[7:]
        data = position + _LOCAL_HEADER.size + name_length + extra_length
        if data > end:
            return
        budget.memory(_RECORD_BYTES + name_length)
        name = content[position + _LOCAL_HEADER.size : data - extra_length].decode("utf-8", "replace")
        extra = content[data - extra_length : data]
        if _LARGE in (packed, size) and len(extra) >= 20 and extra[:2] == b"\x01\x00":
            size, packed = struct.unpack_from("<2Q", extra, 4)  # of zip64, in the first extra field
        if flags & _SIZES_FOLLOW and not packed:
            described = _descriptors(content, position, end, budget) if described is None else described
            if directory < data:
                directory = content.find(_DIRECTORY, data, end)
                directory = end if directory < 0 else directory
            packed, size = described.get(data, (directory - data, directory - data))
        deflated = method == zipfile.ZIP_DEFLATED
        problem = None if method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else f"is packed by method {method}"
        yield ZipRecord(name, data, packed, size if deflated else packed, deflated, problem)
        position = min(data + packed, end)


def _descriptors(content: mmap.mmap, begin: int, end: int, budget: Budget) -> dict[int, tuple[int, int]]:
    """Sizes of records whose headers left them open, by where their bytes begin: they stand behind these."""
    sizes: dict[int, tuple[int, int]] = {}
    for match in _DESCRIPTOR.finditer(content, begin, end):
        position = match.start()
        budget.work(2, 2 * _RECORD_BYTES)
        for form in ("<2I", "<2Q"):
            if position + 8 + struct.calcsize(form) <= end:
                packed, size = struct.unpack_from(form, content, position + 8)
                if begin <= position - packed:
                    sizes.setdefault(position - packed, (packed, size))
    return sizes


class _ZipWindow:
    """A part of a file for `zipfile`, which reads a directory at once, whatever is in it."""

    def __init__(self, content: mmap.mmap, begin: int, end: int, budget: Budget) -> None:
        self._content, self._begin, self._size, self._position = content, begin, end - begin, 0
        self._budget = budget

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._position, self._size)[whence]
        if start + offset < 0:
            raise ValueError("a place before its beginning is asked for")
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        wanted = left if size < 0 else min(size, left)
        start = self._begin + self._position
        if self._content[start : start + len(_DIRECTORY)] == _DIRECTORY:
            self._count_entries(start, start + wanted)
        elif wanted > _MOST_END_BYTES:
            raise zipfile.BadZipFile(f"its directory has {wanted} bytes")
        self._position += wanted
        return self._content[start : start + wanted]

    def _count_entries(self, position: int, end: int) -> None:
        """Go through a directory before it is read: `zipfile` splits the extra fields of an entry in quadratic time."""
        while position + _ENTRY_BYTES <= end and self._content[position : position + 4] == _DIRECTORY:
            name, extra, comment = struct.unpack_from("<3H", self._content, position + 28)
            if extra > _MOST_EXTRA_BYTES:
                raise zipfile.BadZipFile(f"an entry of its directory has an extra field of {extra} bytes")
            self._budget.work(_RECORD_STEPS, _RECORD_BYTES + 6 * name + extra + comment)
            position += _ENTRY_BYTES + name + extra + comment
