"""Standard output and standard error whose failures stop nothing: the work goes on, and the exit status says so."""

from __future__ import annotations

import errno
import io
import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

#: Sizes of a terminal that every table fits in. Anything else in these variables is ignored.
_USABLE = {"COLUMNS": "[4-9][0-9]|[1-9][0-9]{2,3}", "LINES": "[1-9][0-9]{0,3}"}


class OutputStream(io.FileIO):
    """One standard stream, below its encoding: what cannot be written is dropped, and the first reason kept."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or drop it if the stream has failed before or fails now."""
        while self.failure is None:
            try:
                if (count := super().write(data)) is not None:
                    return count
                select.select((), (self,), ())  # another process made the pipe non-blocking, and it is full
            except OSError as error:
                self.failure = error
        return len(data)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let nothing that is printed meanwhile raise, whatever becomes of standard output and standard error."""
    for name, usable in _USABLE.items():
        if name in os.environ and not re.fullmatch(usable, os.environ[name], re.ASCII):
            del os.environ[name]
    closed = _fill_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout = _replaced(before[0], 1, closed)
    sys.stderr = _replaced(before[1], 2, closed)
    replaced = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in replaced:
            stream.flush()


def output_failure() -> OSError | None:
    """Why not all of standard output was written; None if all was, or where it is an object of the caller's."""
    sys.stdout.flush()
    output = _output(sys.stdout)
    return output.failure if output else None


def stop_without_reader() -> None:
    """End the command, with status 1, if nobody reads what it prints any more, as with `| head`."""
    if isinstance(output_failure(), BrokenPipeError):
        raise SystemExit(1)


def _fill_descriptors() -> set[int]:
    """Open the null device as each closed standard descriptor, whose number the next file would take; returns them."""
    closed = set()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    return closed


def _replaced(stream: TextIO | None, standard: int, closed: set[int]) -> TextIO:
    """A stream that never raises, in the place of one that may; an object that is no file stays as it is."""
    if stream is None or stream.closed:
        output, encoding = OutputStream(standard, "w", closefd=False), "utf-8"
        output.failure = OSError(errno.EBADF, "it is closed")
    else:
        number = _number(stream)
        if number is None or _output(stream):
            return stream
        output, encoding = OutputStream(number, "w", closefd=False), stream.encoding
        try:
            stream.flush()
        except OSError as error:
            output.failure = error
        if number in closed:
            output.failure = OSError(errno.EBADF, "it is closed")
    at_once = standard == 2 or output.isatty()
    return io.TextIOWrapper(io.BufferedWriter(output), encoding, "backslashreplace", line_buffering=at_once)


def _number(stream: TextIO) -> int | None:
    """The descriptor that a stream writes to; None if it is a console of Windows, or no file."""
    if not isinstance(stream, io.TextIOWrapper) or (os.name == "nt" and stream.isatty()):
        return None
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


def _output(stream: TextIO) -> OutputStream | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, OutputStream) else None
