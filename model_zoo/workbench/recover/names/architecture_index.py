"""The index of a library: which architectures have which tensors. It is asked in milliseconds, without torch."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_zoo import __version__
from model_zoo.base.registry import models_folder
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import atomic_write, cache_root
from model_zoo.utils.hashing import digest, sha256_file
from model_zoo.workbench.recover.names.architecture import Architecture
from model_zoo.workbench.recover.names.tensor_hashes import Hashes, is_counter, key_hashes, tensor_hashes

#: Whose text decides what an entry holds.
_CODE = (
    "architecture.py",
    "describe.py",
    "libraries.py",
    "tensor_hashes.py",
    "transformers_models.py",
    "../uninitialized.py",
)

_Numbers = npt.NDArray[np.int64]


class Index:
    """All architectures of a library.

    Args:
        arrays: As `arrange` makes them. `counts` are the tensors of each, batch counters left out; `failures` say by
            name why an architecture could not be built.
    """

    def __init__(self, library: str, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        self.library = library
        self._arrays = arrays
        self.counts: _Numbers = arrays["counts"].astype(np.int64)
        self.failures: dict[str, str] = json.loads(arrays["failures"].tobytes())

    def __len__(self) -> int:
        return len(self.counts)

    def save(self, path: Path) -> None:
        """Keep it.

        Raises:
            ModelZooError: The file cannot be written.
        """
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **self._arrays)

    def shared(self, hashes: Hashes, kind: str) -> _Numbers:
        """How many of these hashes each architecture has.

        Args:
            kind: "tensor" for hashes of names and shapes, "key" for those of names.
        """
        known, starts, owners = (self._arrays[f"{kind}_{part}"] for part in ("hashes", "starts", "owners"))
        places = np.searchsorted(known, hashes)
        places = places[places < len(known)][known[places[places < len(known)]] == hashes[places < len(known)]]
        if not len(places):
            return np.zeros(len(self), dtype=np.int64)
        ranges = [owners[starts[place] : starts[place + 1]] for place in places]
        return np.bincount(np.concatenate(ranges).astype(np.int64), minlength=len(self))

    @cache  # noqa: B019 - an index lives as long as the process
    def architecture(self, number: int) -> Architecture:
        """One of them, 0 <= number < len."""
        starts = self._arrays["record_starts"]
        content = self._arrays["records"][int(starts[number]) : int(starts[number + 1])]
        return Architecture.from_json(json.loads(zlib.decompress(content.tobytes())))


def version(library: str) -> str | None:
    """The installed version of a library; None where it is not installed."""
    if library == "zoo":
        return __version__
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def index_path(library: str) -> Path:
    """Where the index is kept: its name holds the versions and the code that it depends on.

    Raises:
        ModelZooError: The library is not installed.
    """
    found = version(library)
    if found is None:
        raise ModelZooError(f"{library} is not installed", "pip install 'model_zoo[recover]'")
    here = Path(__file__).parent
    code = [sha256_file(here / name) for name in _CODE]
    if library == "zoo":
        code += [sha256_file(path) for path in sorted(models_folder().rglob("*.py"))]
    key = digest(found, version("torch"), code)[:12]
    return cache_root() / "architectures" / f"{library}-{found}-{key}.npz"


def load_index(library: str) -> Index | None:
    """The kept index; None where there is none, or a damaged one, for the versions that are installed."""
    try:
        with np.load(index_path(library), allow_pickle=False) as arrays:
            return Index(library, dict(arrays))
    except (FileNotFoundError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def arrange(library: str, records: Sequence[Architecture], failures: Mapping[str, str]) -> Index:
    """Arrange architectures for look-ups.

    Args:
        failures: Why others could not be described, by name.
    """
    own = [{name: shape for name, shape in record.tensors.items() if not is_counter(name)} for record in records]
    packed = [zlib.compress(json.dumps(record.to_json()).encode()) for record in records]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "counts": np.array([len(tensors) for tensors in own], dtype=np.int64),
        "failures": np.frombuffer(json.dumps(dict(failures)).encode(), dtype=np.uint8),
        "records": np.frombuffer(b"".join(packed), dtype=np.uint8),
        "record_starts": np.cumsum([0, *map(len, packed)]),
    }
    for kind, hashes in (("tensor", [tensor_hashes(t) for t in own]), ("key", [key_hashes(t) for t in own])):
        owners = np.repeat(np.arange(len(own), dtype=np.int32), [len(each) for each in hashes])
        joined = np.concatenate([*hashes, np.empty(0, dtype=np.uint64)])
        order = np.argsort(joined, kind="stable")
        known, starts = np.unique(joined[order], return_index=True)
        arrays |= {
            f"{kind}_hashes": known,
            f"{kind}_starts": np.append(starts, len(joined)),
            f"{kind}_owners": owners[order],
        }
    return Index(library, arrays)
