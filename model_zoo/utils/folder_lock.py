"""Locks on folders. A lock ends with the process that holds it, however that ends, and leaves no file behind."""

from __future__ import annotations

import errno
import os
import sys
import time
import weakref
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

if sys.platform != "win32":
    import fcntl
    import resource

#: Where the system has no such locks, what was not changed for so long is held by nobody.
_ABANDONED_S = 24 * 3600

#: Of this process; more would only cost programs that go through all of them.
_MOST_DESCRIPTORS = 65_536

_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class FolderLock(AbstractContextManager["FolderLock"]):
    """A lock on a descriptor, held as long as this object lives, or to the end of its `with` block; None: no lock."""

    def __init__(self, descriptor: int | None) -> None:
        self._close = None if descriptor is None else weakref.finalize(self, os.close, descriptor)

    def __exit__(self, *exception: object) -> None:
        if self._close:
            self._close()


def hold(folder: Path) -> FolderLock | None:
    """Keep a folder from being removed, together with all others who hold it; None if it is gone or being removed."""
    if sys.platform == "win32":
        return FolderLock(None) if folder.exists() else None
    try:
        descriptor = _open(folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    if descriptor > _half_of_descriptors():  # the others are for the work itself
        os.close(descriptor)
        return FolderLock(None)
    return _lock(descriptor, folder, fcntl.LOCK_SH | fcntl.LOCK_NB, without=True)


def seize(path: Path) -> FolderLock | None:
    """Take a folder, or file, of this user's for removing it; None if somebody holds it, or it is gone."""
    try:
        status = path.stat(follow_symlinks=False)
        abandoned = time.time() - status.st_mtime > _ABANDONED_S
        if sys.platform == "win32":
            return FolderLock(None) if abandoned else None
        if status.st_uid != os.geteuid():
            return None
        return _lock(_open(path), path, fcntl.LOCK_EX | fcntl.LOCK_NB, abandoned)
    except (FileNotFoundError, PermissionError):
        return None


def lock_alone(folder: Path) -> FolderLock:
    """Wait for a folder, for changes of a moment that exclude each other."""
    lock = None
    while lock is None and sys.platform != "win32":
        lock = _lock(_open(folder), folder, fcntl.LOCK_EX, without=True)
    return lock or FolderLock(None)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))


def _lock(descriptor: int, path: Path, how: int, without: bool) -> FolderLock | None:
    """Lock what is at a path; None if another has it, or if the file system has no locks and not `without`."""
    lock = FolderLock(descriptor)
    try:
        fcntl.flock(descriptor, how)
        return lock if os.path.samestat(os.fstat(descriptor), path.stat()) else None
    except (BlockingIOError, FileNotFoundError):
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return lock if without else None


@cache
def _half_of_descriptors() -> int:
    """Half of the files that this process may open, once it has asked for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(soft, most) // 2
