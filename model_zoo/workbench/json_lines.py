"""A file of JSON lines that a killed run leaves readable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

_T = TypeVar("_T", bound=BaseModel)


class JsonLines(Generic[_T]):
    """Append records of a type to a file in an existing folder, and read them back."""

    def __init__(self, path: Path, record: TypeAdapter[_T]) -> None:
        self._path, self._record, self._lock = path, record, threading.Lock()

    def read(self) -> Iterator[_T]:
        """Every whole record; a line that a kill cut short is passed over."""
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        for line in text.splitlines():
            try:
                yield self._record.validate_json(line)
            except ValidationError:
                continue

    def append(self, record: _T) -> None:
        """Write one record at once; several threads and processes may do so."""
        # A line break before, too: a line that was cut short must not swallow this one. In one write, so that the
        # lines of two processes do not mix.
        with self._lock, self._path.open("ab", buffering=0) as file:
            file.write(f"\n{record.model_dump_json()}\n".encode())
