"""Arrays that a user gives as .npz or .npy: told by their headers, and unpacked only once they are known to fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_zoo.checkpoints.budget import Budget
from model_zoo.checkpoints.dtypes import numpy_dtype
from model_zoo.checkpoints.npz_file import HEADER_BYTES, located, open_npz, read_header
from model_zoo.checkpoints.stored_tensor import StoredTensor, UnreadableError, file_bytes
from model_zoo.checkpoints.values import read_values
from model_zoo.checkpoints.zip_records import ZipRecords, read_zip
from model_zoo.utils.errors import UserError

_HINT = "save it again with numpy.savez"


@dataclass(frozen=True)
class StoredArray:
    """An array of which only the header was read."""

    path: Path
    name: str
    place: StoredTensor
    archive: ZipRecords | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.place.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return numpy_dtype(self.place.dtype)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Its values.

        Raises:
            UserError: They are damaged.
        """
        try:
            if self.archive is not None:
                self.archive.verify(f"{self.name}.npy")
            return read_values(self.place)
        except (UnreadableError, OSError) as error:
            raise UserError(f"cannot read {self.path}: '{self.name}': {error}", _HINT) from error


def open_arrays(path: Path, single: str = "array") -> dict[str, StoredArray]:
    """Read the headers of an .npz or .npy file.

    Args:
        single: What the array of an .npy is called.

    Raises:
        UserError: It is neither, it is damaged, or it holds something other than arrays of numbers.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        return _of_npz(path) if head.startswith(b"PK") else {single: _of_npy(path, head, single)}
    except (UnreadableError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}", _HINT) from error


def read_arrays(stored: Mapping[str, StoredArray], copies: int = 1) -> dict[str, np.ndarray]:
    """The values of all of some arrays.

    Args:
        copies: How often all of them will be in memory at once.

    Raises:
        UserError: They need more memory than is free, or are damaged.
    """
    import psutil

    needed = copies * sum(array.nbytes for array in stored.values())
    free = int(psutil.virtual_memory().available)
    if needed > free:
        path = next(iter(stored.values())).path
        raise UserError(
            f"{path} needs {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free",
            "give fewer samples",
        )
    return {name: array.read() for name, array in stored.items()}


def _of_npz(path: Path) -> dict[str, StoredArray]:
    budget = Budget()
    budget.add_file(path)
    archive = read_zip(path, budget)
    opened = open_npz(archive)
    if opened.contents.problems or opened.contents.notes:
        raise UnreadableError([*opened.contents.problems, *opened.contents.notes][0])
    return {name: StoredArray(path, name, place, archive) for name, place in opened.places[""].items()}


def _of_npy(path: Path, head: bytes, name: str) -> StoredArray:
    shape, by_column, dtype, begin = read_header(head)
    size = path.stat().st_size
    info, place = located(file_bytes(path, begin, size - begin, size), shape, by_column, dtype)
    if place is None or info.problem is not None:
        raise UnreadableError(info.problem or "is no array of numbers")
    return StoredArray(path, name, place, None)
