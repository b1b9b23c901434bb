"""A file of JSON lines that a killed run leaves readable."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

_T = TypeVar("_T", bound=BaseModel)


class JsonLines(Generic[_T]):
    """Append records of a type to a file in an existing folder, and read them back."""

    def __init__(self, path: Path, record: TypeAdapter[_T]) -> None:
        self._path, self._record, self._lock = path, record, threading.Lock()

    def read(self) -> Iterator[_T]:
        """Every whole record; a line that a kill cut short is passed over."""
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        for line in text.splitlines():
            with suppress(ValueError):  # of JSON, or of pydantic
                yield self._record.validate_python(json.loads(line))

    def append(self, record: _T) -> None:
        """Write one record at once; several threads and processes may do so."""
        # A line break before, too: a line that was cut short must not swallow this one. In one write, so that the
        # lines of two processes do not mix. In ASCII: a text may hold half a surrogate pair, or a separator of lines.
        with self._lock, self._path.open("ab", buffering=0) as file:
            file.write(f"\n{json.dumps(record.model_dump(mode='json'))}\n".encode())
