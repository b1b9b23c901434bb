"""Files and folders that are either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_zoo.utils.errors import ModelZooError, UserError

_ELSEWHERE = "choose another folder with --output-dir"


def cache_root() -> Path:
    """Where everything that can be made again is kept: $MODEL_ZOO_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("MODEL_ZOO_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("model_zoo")


def make_folder(path: Path, hint: str = _ELSEWHERE) -> None:
    """Create a folder and its parents.

    Args:
        hint: What to do if that fails.

    Raises:
        UserError: It cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {path}: {error.strerror}", hint) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write to {path}", hint)


def check_writable(file: Path, hint: str) -> None:
    """Refuse a file that cannot be written, before the work that it is for.

    Args:
        hint: What to do then.

    Raises:
        UserError: It is a folder, its folder is missing, or there is no permission.
    """
    if file.is_dir():
        raise UserError(f"{file} is a folder", hint)
    if not file.parent.is_dir():
        raise UserError(f"there is no folder {file.parent} to write {file.name} to", hint)
    if not os.access(file.parent, os.W_OK | os.X_OK) or (file.exists() and not os.access(file, os.W_OK)):
        raise UserError(f"no permission to write {file}", hint)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, moved into place only if the block ends well.

    Raises:
        ModelZooError: The file cannot be written, e.g. because the disk is full.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise write_error(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path` that takes its place only if the block ends well.

    Raises:
        ModelZooError: The folder cannot be written, e.g. because the disk is full.
    """
    make_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        old = temporary.with_name(temporary.name + ".old")
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_error(path: Path, error: OSError) -> ModelZooError:
    """The message for a write that failed."""
    return ModelZooError(
        f"cannot write {path}: {error.strerror or error}", "free some space or use another --output-dir"
    )
