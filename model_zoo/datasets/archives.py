"""Unpack what strangers packed: plain files only, none outside of the folder, and no more than the archive can hold."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from model_zoo.utils.errors import UserError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")

#: Data sets are of pictures, sound and text: text packs to a tenth, nothing real to less than a hundredth.
_MAX_RATIO = 100
_SLACK_BYTES = 2**20
_MAX_FILES = 2_000_000


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
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"cannot unpack {archive}: {error}", "get it again") from error
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
    with tarfile.open(archive) as tar:
        for entry in tar:
            if not entry.isdir():
                yield _Member(entry.name, entry.size, entry.isreg(), lambda entry=entry: tar.extractfile(entry))  # type: ignore[misc]
