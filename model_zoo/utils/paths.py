"""Which text can be the path of a file, and which files are read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


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
