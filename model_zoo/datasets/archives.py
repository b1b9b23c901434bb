"""Unpack what strangers packed: plain files only, none outside of the folder, and no more than the archive can hold."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, Self

from model_zoo.utils.errors import UserError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")

#: Data sets are of pictures, sound and text: text packs to a tenth, nothing real to less than a hundredth.
_MAX_RATIO = 100
_SLACK_BYTES = 2**20
_MAX_FILES = 2_000_000
#: Of what stands before a member, e.g. a long name: it is read at once.
_MAX_HEADER_BYTES = 2**20

#: What the readers of archives raise for damaged ones: bz2 and gzip an OSError, a wrong size also the last two.
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError),
    *(OverflowError, MemoryError),
)


class _Header(tarfile.TarInfo):
    """A damaged header is an error, where tarfile alone takes it for the end of the archive; and so is a huge one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends too early")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(f"damaged header: {error}") from error
            raise  # the end
        if not header.isreg() and header.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


class _Member(NamedTuple):
    name: str
    size: int
    plain: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, into: Path) -> int:
    """Unpack a zip or tar archive.

    Returns:
        How many files it held.

    Raises:
        UserError: It is damaged or no archive, holds links or devices, names a file outside of the folder or one file
            twice, or unpacks to far more than its own size.
        OSError: The disk is full.
    """
    left = _MAX_RATIO * archive.stat().st_size + _SLACK_BYTES
    count = 0
    try:
        for member in _members(archive):
            path = PurePosixPath(member.name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in str(path).split("/")[0]:
                raise UserError(f"{archive} would write outside of its folder: {member.name!r}", "do not use this file")
            if not member.plain:
                raise UserError(f"{archive} holds a link or a device: {member.name!r}", "do not use this file")
            left -= member.size
            count += 1
            if left < 0 or count > _MAX_FILES:
                raise UserError(f"{archive} unpacks to far more than its own size", "do not use this file")
            if path.name.startswith("._") or "__MACOSX" in path.parts:
                continue  # what macOS adds
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            source = member.open()
            if source is None or target.exists():
                raise UserError(f"{archive} holds {member.name!r} twice", "get it again")
            with source, target.open("xb") as file:
                shutil.copyfileobj(source, file, 2**20)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise UserError(f"cannot unpack {archive}: {str(error) or repr(error)}", "get it again") from error
    return count


def _members(archive: Path) -> Iterator[_Member]:
    """Every member but folders. Sizes are those that the reader will not go beyond."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if not info.is_dir():
                    plain = kind in (0, stat.S_IFREG)
                    yield _Member(info.filename, info.file_size, plain, lambda info=info: packed.open(info))  # type: ignore[misc]
        return
    try:
        tar = tarfile.open(archive, tarinfo=_Header)  # noqa: SIM115
    except tarfile.TarError as error:  # a line for each kind of compression
        raise tarfile.ReadError("it is empty, damaged at its start, or neither zip nor tar") from error
    with tar:
        for entry in tar:
            if not entry.isdir():
                yield _Member(entry.name, entry.size, entry.isreg(), lambda entry=entry: tar.extractfile(entry))  # type: ignore[misc]
        # The checksum of what is compressed is at its very end; before it come the second empty block and padding.
        rest = tar.fileobj.read(_SLACK_BYTES) if tar.fileobj else b""
        if not tarfile.BLOCKSIZE <= len(rest) < _SLACK_BYTES or any(rest[: tarfile.BLOCKSIZE]):
            raise tarfile.ReadError("it does not end as an archive does")
