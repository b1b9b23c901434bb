"""The stage cache: what a stage made, found again by what it was made from."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import make_folder
from model_zoo.utils.hashing import digest, sha256_file

#: Entries that were not used for longest are removed when all entries together pass this.
MAX_CACHE_BYTES = 20 * 2**30

_RECORD = "entry.json"
_ABANDONED_S = 24 * 3600
_UNFINISHED = ".new-"
_ELSEWHERE = "free some space, or name another cache folder in MODEL_ZOO_CACHE"


@dataclass(frozen=True)
class Entry:
    """One finished stage.

    Args:
        folder: Holds the files the stage wrote.
        value: The JSON values it gave.
        seconds: What making it took, whenever that was.
        cached: Whether an earlier run made it.
    """

    folder: Path
    value: dict[str, Any]
    seconds: float
    cached: bool
    files: dict[str, str]

    def file(self, name: str) -> Path:
        """The path of one of the files."""
        return self.folder / name


class StageCache:
    """A folder of finished stages. Entries appear whole or not at all, and a damaged one is made again.

    Args:
        root: Where the entries are.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        make_folder(root, _ELSEWHERE)

    def get_or_make(self, stage: str, key: list[Any], make: Callable[[Path], dict[str, Any]]) -> Entry:
        """Find the entry for a key, or call `make` to fill an empty folder.

        Args:
            stage: Name of the stage; part of the key.
            key: JSON values: everything the result depends on, tool versions included.
            make: Writes files into the folder it gets and gives JSON values.
        """
        if found := self.find(stage, key):
            return found
        try:
            return self._make(self._folder(stage, key), make)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            raise ModelZooError(f"cannot write to the cache {self.root}: {error.strerror}", _ELSEWHERE) from error

    def find(self, stage: str, key: list[Any]) -> Entry | None:
        """The entry for a key if it is there and whole."""
        return self._read(self._folder(stage, key))

    def _folder(self, stage: str, key: list[Any]) -> Path:
        return self.root / stage / digest(stage, *key)

    def _make(self, folder: Path, make: Callable[[Path], dict[str, Any]]) -> Entry:
        make_folder(folder.parent, _ELSEWHERE)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_UNFINISHED))
        try:
            started = time.monotonic()
            value = make(temporary)
            seconds = time.monotonic() - started
            files = {path.name: sha256_file(path) for path in sorted(temporary.iterdir())}
            value = json.loads(json.dumps(value))  # as it will be read back
            record = {"value": value, "value_digest": digest(value), "seconds": seconds, "files": files}
            (temporary / _RECORD).write_text(json.dumps(record), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another run finished the same entry first: both are equal
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._prune(keep=folder)
        return Entry(folder, value, seconds, cached=False, files=files)

    def _read(self, folder: Path) -> Entry | None:
        record_file = folder / _RECORD
        try:
            record = json.loads(record_file.read_text(encoding="utf-8"))
            for name, sha256 in record["files"].items():
                if sha256_file(folder / name) != sha256:
                    return None
            if digest(record["value"]) != record["value_digest"]:
                return None
            record_file.touch()
            return Entry(folder, record["value"], float(record["seconds"]), cached=True, files=record["files"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # absent or damaged: it is made again

    def _prune(self, keep: Path) -> None:
        for left in self.root.glob(f"*/{_UNFINISHED}*"):  # by runs that were killed
            with contextlib.suppress(FileNotFoundError):  # another thread or run has just finished it
                if time.time() - left.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(left, ignore_errors=True)
        entries = []
        for record in self.root.glob(f"*/*/{_RECORD}"):
            with contextlib.suppress(FileNotFoundError):  # another thread or run is just replacing it
                size = sum(file.stat().st_size for file in record.parent.iterdir())
                entries.append((record.stat().st_mtime, record.parent, size))
        total = sum(size for _, _, size in entries)
        for _, entry, size in sorted(entries):
            if total <= MAX_CACHE_BYTES:
                return
            if entry != keep:
                shutil.rmtree(entry, ignore_errors=True)
                total -= size
