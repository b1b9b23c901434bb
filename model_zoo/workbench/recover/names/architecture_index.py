"""The index of a library: which architectures have which tensors. It is asked in milliseconds, without torch.

It is built once for a version of the library: every architecture in child processes, each with a time and a memory
limit. What is described is written down at once, so a build that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from model_zoo import __version__
from model_zoo.base.registry import models_folder
from model_zoo.utils.code_digest import code_digest
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import atomic_write, cache_root, make_folder
from model_zoo.utils.hashing import digest, sha256_file
from model_zoo.utils.jobs import ChildFailedError, Limits
from model_zoo.workbench.json_lines import JsonLines
from model_zoo.workbench.recover.names.architecture import (
    Architecture,
    FailedArchitecture,
    Hashes,
    is_counter,
    key_hashes,
    tensor_hashes,
)
from model_zoo.workbench.warm_children import WarmChild, WarmChildren

_CHILD = "model_zoo.workbench.recover.names.describe"
_LIMITS = Limits(seconds=300.0, memory_bytes=6 * 2**30)

#: A second process pays for importing the library again only if it has so many to build.
_WORTH_A_PROCESS = 200
_PROCESSES = 2

Described = Architecture | FailedArchitecture

#: Called with how many architectures are described, and how many there are.
Progress = Callable[[int, int], None]

_Numbers = npt.NDArray[np.int64]


class ArchitectureIndex:
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
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **self._arrays)

    def shared(self, hashes: Hashes, kind: str) -> _Numbers:
        """How many of these hashes each architecture has.

        Args:
            kind: "tensor" for hashes of names and shapes, "key" for those of names.
        """
        known, starts, owners = (self._arrays[f"{kind}_{part}"] for part in ("hashes", "starts", "owners"))
        positions = np.searchsorted(known, hashes)
        inside = positions < len(known)
        positions = positions[inside][known[positions[inside]] == hashes[inside]]
        if not len(positions):
            return np.zeros(len(self), dtype=np.int64)
        ranges = [owners[starts[position] : starts[position + 1]] for position in positions]
        return np.bincount(np.concatenate(ranges).astype(np.int64), minlength=len(self))

    @cache  # noqa: B019 - an index lives as long as the process
    def architecture(self, number: int) -> Architecture:
        """One of them, 0 <= number < len."""
        starts = self._arrays["record_starts"]
        content = self._arrays["records"][int(starts[number]) : int(starts[number + 1])]
        return Architecture.model_validate_json(zlib.decompress(content.tobytes()))


def version(library: str) -> str | None:
    """The installed version of a library; None if it is not installed."""
    try:
        return __version__ if library == "zoo" else metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def index_path(library: str) -> Path:
    """Where the index is kept: its name holds the versions and the code that it depends on."""
    if (installed := version(library)) is None:
        raise ModelZooError(f"{library} is not installed", "pip install 'model_zoo[recover]'")
    code = [code_digest(_CHILD, without=("model_zoo.base", "model_zoo.checkpoints", "model_zoo.utils"))]
    if library == "zoo":
        code += [sha256_file(path) for path in sorted(models_folder().rglob("*.py"))]
    key = digest(installed, version("torch"), code)[:12]
    return cache_root() / "architectures" / f"{library}-{installed}-{key}.npz"


def load_index(library: str) -> ArchitectureIndex | None:
    """The kept index; None if there is none, or a damaged one, for the versions that are installed."""
    try:
        with np.load(index_path(library), allow_pickle=False) as arrays:
            return ArchitectureIndex(library, dict(arrays))
    except (FileNotFoundError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def arrange(library: str, described: Sequence[Described]) -> ArchitectureIndex:
    """Arrange architectures for look-ups."""
    records = [each for each in described if isinstance(each, Architecture)]
    failures = {each.name: each.failure for each in described if isinstance(each, FailedArchitecture)}
    own = [{name: shape for name, shape in record.tensors.items() if not is_counter(name)} for record in records]
    packed = [zlib.compress(record.model_dump_json().encode()) for record in records]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "counts": np.array([len(tensors) for tensors in own], dtype=np.int64),
        "failures": np.frombuffer(json.dumps(failures).encode(), dtype=np.uint8),
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
    return ArchitectureIndex(library, arrays)


def ensure_index(library: str, progress: Progress) -> ArchitectureIndex:
    """The kept index, or a new one.

    Raises:
        ModelZooError: The library is not installed, or the index cannot be written.
        ChildFailedError: The library cannot be imported.
    """
    from filelock import FileLock

    path = index_path(library)
    if kept := load_index(library):
        return kept
    make_folder(path.parent, "set MODEL_ZOO_CACHE to a folder that can be written to")
    with FileLock(f"{path}.lock"):
        if kept := load_index(library):  # another process built it meanwhile
            return kept
        part = path.with_suffix(".part.jsonl")
        index = arrange(library, _describe_all(library, part, progress))
        index.save(path)
        part.unlink(missing_ok=True)
        return index


def _describe_all(library: str, part: Path, progress: Progress) -> list[Described]:
    """Every architecture of a library in its order; those in `part` were described by an earlier run."""
    record: TypeAdapter[Described] = TypeAdapter(Described)
    file = JsonLines(part, record)
    done = {each.name: each for each in file.read()}

    def describe(child: WarmChild, name: str) -> None:
        try:
            done[name] = record.validate_python(child.ask({"name": name}))
        except ChildFailedError as error:  # the architecture that ended its process is a failure
            done[name] = FailedArchitecture(name=name, failure=error.message)
        file.append(done[name])

    with WarmChildren(_CHILD, {"library": library}, _LIMITS, f"architectures of {library}", _PROCESSES) as children:
        with children.child() as child:
            names: list[str] = child.start()["names"]
        waiting = [name for name in names if name not in done]
        progress(len(names) - len(waiting), len(names))
        processes = max(1, min(_PROCESSES, os.cpu_count() or 1, math.ceil(len(waiting) / _WORTH_A_PROCESS)))
        for number, _ in enumerate(children.map(describe, waiting, processes), len(names) - len(waiting) + 1):
            progress(number, len(names))
    return [done[name] for name in names]
