"""Swap two paths in one step."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

_CURRENT_FOLDER = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def exchange(first: Path, second: Path) -> bool:
    """Swap two paths of one file system, so that neither is missing at any moment.

    Returns:
        False where the system or the file system cannot: on others than Linux, and on some network drives.

    Raises:
        OSError: One of them is missing, or may not be moved.
    """
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    import ctypes

    paths = (_CURRENT_FOLDER, os.fsencode(first), _CURRENT_FOLDER, os.fsencode(second))
    if renameat2(*paths, _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


@cache
def _renameat2() -> Callable[..., int] | None:
    """The function of the C library; None where it has none."""
    if os.name != "posix":
        return None
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function
