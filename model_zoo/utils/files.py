"""Paths, and files and folders that are either whole or not there."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.temporary import remove_leftovers, replace_folder, temporary_folder

_ELSEWHERE = "choose another folder to write to"

#: Begins the names of folders in the system's temporary folder.
_WORK = "model_zoo-work"


def path_problem(path: str | os.PathLike[str]) -> str | None:
    """Why nothing can have this path; None if something can, whether it is there or not."""
    if not str(path).strip():
        return "an empty path names nothing"
    try:
        Path(path).expanduser().lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return f"'{str(path)[:40]}…' is longer than a path may be"
    except (ValueError, RuntimeError) as error:  # a null character, or the home folder of nobody
        return f"{str(path)!r} is no path: {error}"
    return None


def is_plain_file(path: Path) -> bool:
    """Whether a file with something in it is there: reading pipes, devices and files of /proc can wait for ever."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def cache_root() -> Path:
    """Where everything that can be made again is kept: $MODEL_ZOO_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("MODEL_ZOO_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("model_zoo")


def make_folder(path: Path, hint: str = _ELSEWHERE) -> None:
    """Create a folder and its parents; one that cannot be written to is a `UserError` with the hint."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {path}: {error.strerror}", hint) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write to {path}", hint)


def check_writable(file: Path, hint: str) -> None:
    """Refuse a file that cannot be written with a `UserError`, before the work that it is for."""
    if file.is_dir():
        raise UserError(f"{file} is a folder", hint)
    if not file.parent.is_dir():
        raise UserError(f"there is no folder {file.parent} to write {file.name} to", hint)
    if not os.access(file.parent, os.W_OK | os.X_OK) or (file.exists() and not os.access(file, os.W_OK)):
        raise UserError(f"no permission to write {file}", hint)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path to write to, moved to `path` only if the block ends well; until then what is there stays.

    That a disk is full, or another `OSError`, becomes what `write_error` returns, here and in the functions below.
    """
    try:
        with temporary_folder(path) as folder:
            yield folder / path.name
            (folder / path.name).replace(path)
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def atomic_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path` that takes its place only if the block ends well.

    Another with something in it is a `FileExistsError` unless it may `replace` that.
    """
    make_folder(path.parent)
    try:
        with temporary_folder(path) as folder:
            yield folder
            if replace:
                replace_folder(folder, path)
            else:
                folder.rename(path)
    except OSError as error:
        if not replace and error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise write_error(path, error) from error


@contextmanager
def work_folder() -> Iterator[Path]:
    """Yield an empty folder in the system's temporary folder, for files that nobody needs after the block."""
    parent = Path(tempfile.gettempdir())
    made = False
    try:
        with temporary_folder(parent / _WORK, mode=0o700) as folder:
            made = True
            yield folder
    except OSError as error:
        if made and not is_full(error):
            raise
        raise write_error(parent / _WORK, error) from error


@contextmanager
def cleared_work_folders() -> Iterator[None]:
    """Remove what killed runs left in the temporary folder; at the end too, as a killed run's children outlive it."""
    remove_leftovers(Path(tempfile.gettempdir()))
    yield
    remove_leftovers(Path(tempfile.gettempdir()))


def is_full(error: OSError) -> bool:
    """Whether a write failed because there was no space; NumPy says that in words alone."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and "requested and" in str(error))


def write_error(path: Path, error: OSError, hint: str | None = None) -> ModelZooError:
    """The message for a write to a path that failed; if the error names a file elsewhere, that is named instead.

    Args:
        hint: What to do about `path`, if it is none of the folders that the zoo chooses itself.
    """
    named = error.filename2 or error.filename
    if isinstance(named, str) and not Path(named).is_relative_to(path.parent):
        path, hint = Path(named), None
    target = f"to the temporary folder {tempfile.gettempdir()}" if _is_work(path) else path
    return ModelZooError(f"cannot write {target}: {error.strerror or error}", space_hint(path, hint))


def space_hint(path: Path, other: str | None = None) -> str:
    """What to do about a folder that has no space left: `other` unless it is the temporary folder or the cache."""
    if _is_work(path):
        return "free some space there, or name another temporary folder in TMPDIR"
    if path.is_relative_to(cache_root()):
        return "free some space, or name another cache folder in MODEL_ZOO_CACHE"
    return other or "free some space or write to another folder"


def _is_work(path: Path) -> bool:
    return path.name == _WORK or any(part.startswith(f".{_WORK}.") for part in path.parts)
