"""Download one file: checked, resumed where an earlier try stopped, and in place only when it is whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.utils.console import console
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import make_folder, write_error
from model_zoo.utils.hashing import sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable


#: Nothing the zoo needs is larger.
MAX_BYTES = 8 * 2**30

_CONNECT_S, _READ_S = 5.0, 20.0
#: A download that is done by then shows no progress.
_QUIET_S = 2.0


def has_checksum(path: Path, sha256: str) -> bool:
    """Whether the sha256 of a file is, or begins with, these hex digits."""
    return sha256_file(path).startswith(sha256.lower())


def download(url: str, path: Path, sha256: str, hint: str, max_bytes: int = MAX_BYTES) -> None:
    """Fetch a URL into a file, which is replaced if it is there.

    What has arrived is kept beside it as `<name>.part`, and the next call goes on from there.

    Args:
        sha256: Hex digits that the digest of the content begins with; all 64 of them, or as many as are published.
        hint: What to do if it fails.

    Raises:
        ModelZooError: The server cannot be reached, refuses, sends too much, or sends something else; names the URL.
    """
    import httpx
    from filelock import FileLock

    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    try:
        with FileLock(path.with_name(path.name + ".lock")):  # two processes may want the same file
            if path.is_file() and has_checksum(path, sha256):
                return
            _receive(url, part, max_bytes, hint)
            if not has_checksum(part, sha256):
                actual = sha256_file(part)
                part.unlink()
                raise ModelZooError(f"{url} gave a file with sha256 {actual}, expected {sha256}", hint)
            part.replace(path)
    except httpx.HTTPStatusError as error:
        answer = f"HTTP {error.response.status_code} {error.response.reason_phrase}"
        raise ModelZooError(f"cannot download {url}: {answer}", hint) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ModelZooError(f"cannot download {url}: {str(error) or type(error).__name__}", hint) from error
    except OSError as error:
        raise write_error(part, error) from error


def _receive(url: str, part: Path, max_bytes: int, hint: str) -> None:
    import httpx

    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S)) as client:
        start = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is left to fetch; the checksum tells whether that is so
            response.raise_for_status()
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                start = 0
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            if total is not None and total > max_bytes:
                raise ModelZooError(f"{url} is {total} bytes, more than the {max_bytes} that are allowed", hint)
            with part.open("ab" if start else "wb") as file, _progress(part.stem, total) as show:
                for chunk in response.iter_bytes():
                    if file.tell() + len(chunk) > max_bytes:
                        raise ModelZooError(
                            f"{response.url} sends more than the {max_bytes} bytes that are allowed", hint
                        )
                    file.write(chunk)
                    show(file.tell())


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error if the work takes longer than a moment; yields a function of the bytes."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console(stderr=True), transient=True)
    began = time.monotonic()

    def show(size: int) -> None:
        if time.monotonic() - began > _QUIET_S:
            if not progress.tasks:
                progress.add_task(what, total=total)
                progress.start()
            progress.update(progress.task_ids[0], completed=size)

    try:
        yield show
    finally:
        if progress.tasks:
            progress.stop()
