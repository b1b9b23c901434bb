"""What reading one file may take: steps of work and bytes of memory, counted where they arise, the same in all readers.

Files share: one name, list or record can be referred to any number of times. So what is produced is counted, each time,
not what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: A step is about a microsecond: so a file of up to some 16 MB is answered in a few seconds, within 500 MiB.
LEAST_STEPS = 4_000_000
LEAST_BYTES = 320 * 2**20
#: What larger files may ask for besides: 100,000 pickled tensors in 10 GB take about ten million steps.
_FILE_BYTES_FOR_A_STEP = 512
_MEMORY_FOR_A_FILE_BYTE = 1 / 4
#: Files may have holes, which take no space on the disk.
_MOST_FILE_BYTES = 8 * 2**30

_TENSOR_STEPS, _TENSOR_BYTES = 25, 1200

_WHY = "it is damaged, or made to exhaust whoever reads it"


class UnreadableError(Exception):
    """What is wrong with a file, to be said after its name. Every reader raises it, and no other error of its own."""

    def __init__(self, message: str, hint: str = "give a file that holds a model") -> None:
        super().__init__(message)
        self.hint = hint


class SpentError(UnreadableError):
    """All work that a file may ask for is done: nothing more of it is read."""


class Budget:
    """What is left for one file that a user names, and for all the files that it refers to."""

    def __init__(self) -> None:
        self.steps = self.steps_left = LEAST_STEPS
        self.bytes = self.bytes_left = LEAST_BYTES
        self._files: set[tuple[int, int]] = set()
        self._file_bytes = 0

    def add_file(self, path: Path) -> None:
        """Allow more for the size of a file, once however many names it has."""
        self.work(50)
        status = path.stat()
        if (status.st_dev, status.st_ino) in self._files:
            return
        self._files.add((status.st_dev, status.st_ino))
        size = min(status.st_size, _MOST_FILE_BYTES - self._file_bytes)
        self._file_bytes += size
        steps, memory = size // _FILE_BYTES_FOR_A_STEP, int(size * _MEMORY_FOR_A_FILE_BYTE)
        self.steps, self.steps_left = self.steps + steps, self.steps_left + steps
        self.bytes, self.bytes_left = self.bytes + memory, self.bytes_left + memory

    def work(self, steps: int, memory: int = 0) -> None:
        """Count work before it is done, and bytes that it keeps.

        Raises:
            SpentError: It takes more steps than are left; none are left then.
            UnreadableError: It takes more bytes than are left, see `memory`.
        """
        self.steps_left -= steps
        if self.steps_left < 0:
            self.steps_left = 0
            raise SpentError(f"asks for more than the {self.steps:,} steps of work that a file of its size may: {_WHY}")
        if memory:
            self.memory(memory)

    def memory(self, size: int) -> None:
        """Count bytes before they are kept; more than are left are an `UnreadableError`, fewer can still be read."""
        if size > self.bytes_left:
            allowed = f"{self.bytes // 2**20:,} MiB of memory"
            raise UnreadableError(f"asks for more than the {allowed} that a file of its size may: {_WHY}")
        self.bytes_left -= size

    def text(self, length: int) -> None:
        """Count a text of so many characters that is put together and kept, be each of four bytes."""
        self.work(length // 1024, 4 * length)

    def tensor(self, dimensions: int = 0) -> None:
        """Count a tensor: finding its values, and showing it."""
        self.work(_TENSOR_STEPS + 2 * dimensions, _TENSOR_BYTES + 100 * dimensions)

    @contextmanager
    def temporary(self) -> Iterator[None]:
        """What is kept inside is free again at the end."""
        left = self.bytes_left
        try:
            yield
        finally:
            self.bytes_left = left

    @contextmanager
    def share(self, part: float) -> Iterator[None]:
        """Leave the rest of what is left for what comes after, so that what was read can still be shown."""
        steps, memory = int(self.steps_left * (1 - part)), int(self.bytes_left * (1 - part))
        self.steps_left, self.bytes_left = self.steps_left - steps, self.bytes_left - memory
        try:
            yield
        finally:
            self.steps_left, self.bytes_left = self.steps_left + steps, self.bytes_left + memory
