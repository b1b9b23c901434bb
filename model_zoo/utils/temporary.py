"""Temporary folders that take the place of others. What a killed process left is put right by the next one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from model_zoo.utils.folder_lock import FolderLock, hold, seize

#: How names end: of what may be removed once nobody holds it, and of what stands aside for its successor.
_NEW, _ASIDE = ".model_zoo-new", ".model_zoo-aside"

_EXISTS = (errno.ENOTEMPTY, errno.EEXIST)

_CURRENT_FOLDER = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


@contextmanager
def temporary_folder(beside: Path, mode: int = 0o777) -> Iterator[Path]:
    """Yield an empty folder in the folder of a path, and remove it at the end if it is still there.

    Its parent is cleared of what killed processes left there. This one is locked while it is in use, so that others
    leave it alone.
    """
    remove_leftovers(beside.parent)
    lock = None
    while lock is None:  # it may be taken for a leftover before it is locked
        folder = _name(beside, _NEW)
        folder.mkdir(mode)
        lock = hold(folder)
    with lock:
        try:
            yield folder
        finally:
            _remove(folder)


def replace_folder(new: Path, path: Path) -> None:
    """Put a folder in the place of whatever is at a path of the same parent, which is never missing meanwhile.

    What was there has the new one's old name then, or is removed already. Where the file system cannot exchange two
    paths, the old folder stands aside for a moment; if the process is killed in it, `remove_leftovers` puts it back.
    """
    while True:
        aside: AbstractContextManager[None] = contextlib.nullcontext()
        with contextlib.suppress(FileNotFoundError):  # nothing is there
            if exchange(new, path):
                return
            aside = _aside(path)
        with aside:
            try:
                new.rename(path)
                return
            except OSError as error:
                if error.errno not in _EXISTS:  # else another process was first, and its folder is replaced in turn
                    raise


def exchange(first: Path, second: Path) -> bool:
    """Swap two paths of one file system in one step, so that neither is missing at any moment.

    Returns False where that cannot be done: on other systems than Linux, and on some network drives.
    """
    if os.name != "posix":
        return False
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_CURRENT_FOLDER, os.fsencode(first), _CURRENT_FOLDER, os.fsencode(second), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders in a folder that nobody holds, and put back what stands aside for nothing."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for path in list(parent.iterdir()):
            if path.name.startswith(".") and path.name.endswith((_NEW, _ASIDE)):
                _put_right(path)


def discard_folder(path: Path) -> bool:
    """Remove a folder if nobody holds it, whole in one step; returns whether it was."""
    lock = seize(path)
    if lock is None:
        return False
    with lock:
        gone = _name(path, _NEW)
        path.rename(gone)
        _remove(gone)
    return True


def _name(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{suffix}")


@contextmanager
def _aside(path: Path) -> Iterator[None]:
    """Move a folder out of the way, and remove it afterwards, or put it back if nothing took its place."""
    aside = _name(path, _ASIDE)
    with hold(path) or FolderLock(None):
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
        try:
            yield
        finally:
            _put_back(aside, path)
            _remove(aside)


def _put_back(aside: Path, path: Path) -> None:
    """Move what stands aside back, unless something is in its place."""
    if os.path.lexists(aside) and not os.path.lexists(path):
        try:
            aside.rename(path)
        except OSError as error:
            if error.errno not in _EXISTS:  # else another process has just put its own there
                raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _put_right(leftover: Path) -> None:
    original = leftover.with_name(leftover.name[1:].rsplit(".", 2)[0])
    lock = FolderLock(None) if leftover.is_symlink() else seize(leftover)
    if lock is None:
        return
    with lock, contextlib.suppress(FileNotFoundError, PermissionError):
        if leftover.name.endswith(_ASIDE):
            _put_back(leftover, original)
        _remove(leftover)
