"""The stage cache: what a stage made, found again by what it was made from."""

from __future__ import annotations

import contextlib
import errno
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from model_zoo.utils.files import cache_root, cleared_work_folders, is_full, make_folder, work_folder, write_error
from model_zoo.utils.folder_lock import FolderLock, hold, lock_alone
from model_zoo.utils.hashing import digest, sha256_file
from model_zoo.utils.temporary import discard_folder, remove_leftovers, replace_folder, temporary_folder

#: Entries that were not used for longest are removed when all entries together pass this.
MAX_CACHE_BYTES = 20 * 2**30

_RECORD = "entry.json"
_ELSEWHERE = "free some space, or name another cache folder in MODEL_ZOO_CACHE"


@dataclass(frozen=True)
class Entry:
    """One finished stage. No run removes its files as long as this object lives.

    Args:
        seconds: What making it took, whenever that was.
        cached: Whether an earlier run made it.
        lock: Shared by all who use the entry.
    """

    folder: Path
    value: dict[str, Any]
    seconds: float
    cached: bool
    files: dict[str, str]
    lock: FolderLock | None = field(repr=False, compare=False)

    def file(self, name: str) -> Path:
        return self.folder / name

    @property
    def main_file(self) -> Path:
        """The file that the value names."""
        return self.file(self.value["file"])


#: Writes files into the empty folder it gets, and returns JSON values or a model of them.
Make = Callable[[Path], dict[str, Any] | BaseModel]


class StageCache:
    """A folder of finished stages, for any number of threads and runs at once.

    Entries appear whole or not at all, and a damaged one is made again. Two runs that need the same entry at once both
    make it, and both use that of the first: nobody waits for another run, which may be slow, stopped or stuck.

    Args:
        root: Where the entries are. It is cleared of what killed runs left.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        make_folder(root, _ELSEWHERE)
        for stage in root.iterdir():
            if stage.is_dir():
                remove_leftovers(stage)

    def get_or_make(self, stage: str, key: list[Any], make: Make) -> Entry:
        """Find the entry for a key, or call `make` to fill an empty folder.

        Args:
            stage: Name of the stage; part of the key.
            key: JSON values: everything the result depends on, tool versions included.
        """
        if found := self.find(stage, key):
            return found
        folder = self._folder(stage, key)
        try:
            make_folder(folder.parent, _ELSEWHERE)
            with temporary_folder(folder) as temporary:
                started = time.monotonic()
                value = make(temporary)
                entry = self._keep(temporary, folder, value, time.monotonic() - started)
        except OSError as error:
            if not is_full(error) and error.errno not in (errno.EACCES, errno.EROFS):
                raise
            raise write_error(folder, error, _ELSEWHERE) from error
        self._prune()
        return entry

    def find(self, stage: str, key: list[Any]) -> Entry | None:
        """The entry for a key if it is there and whole."""
        return self._read(self._folder(stage, key))

    def _folder(self, stage: str, key: list[Any]) -> Path:
        return self.root / stage / digest(stage, *key)

    def _keep(self, temporary: Path, folder: Path, made: dict[str, Any] | BaseModel, seconds: float) -> Entry:
        """Put what was made in its place; what another run or thread made first, and may be reading, stays."""
        files = {path.name: sha256_file(path) for path in sorted(temporary.iterdir())}
        text = made.model_dump_json() if isinstance(made, BaseModel) else json.dumps(made)
        value = json.loads(text)  # as it will be read back
        record = {"value": value, "value_digest": digest(value), "seconds": seconds, "files": files}
        (temporary / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        with lock_alone(folder.parent):
            if found := self._read(folder):
                return found
            replace_folder(temporary, folder)
            return Entry(folder, value, seconds, cached=False, files=files, lock=hold(folder))

    def _read(self, folder: Path) -> Entry | None:
        lock = hold(folder)
        if lock is None:
            return None
        record_file = folder / _RECORD
        try:
            record = json.loads(record_file.read_text(encoding="utf-8"))
            for name, sha256 in record["files"].items():
                if sha256_file(folder / name) != sha256:
                    return None
            if digest(record["value"]) != record["value_digest"]:
                return None
            record_file.touch()
            return Entry(folder, record["value"], float(record["seconds"]), True, record["files"], lock)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # damaged: it is made again

    def _prune(self) -> None:
        """Remove what was not used for longest, and is not used now, until the rest is small enough."""
        entries = []
        for record in self.root.glob(f"*/[!.]*/{_RECORD}"):
            with contextlib.suppress(FileNotFoundError):  # another thread or run is just replacing it
                size = sum(file.stat().st_size for file in record.parent.iterdir())
                entries.append((record.stat().st_mtime, record.parent, size))
        total = sum(size for _, _, size in entries)
        for _, entry, size in sorted(entries):
            if total <= MAX_CACHE_BYTES:
                return
            with lock_alone(entry.parent):
                total -= size if discard_folder(entry) else 0


@contextmanager
def open_cache(use_cache: bool) -> Iterator[StageCache]:
    """The user's stage cache, or an empty one that lasts for one run."""
    if use_cache:
        with cleared_work_folders():
            yield StageCache(cache_root() / "stages")
        return
    with work_folder() as folder:
        yield StageCache(folder)
