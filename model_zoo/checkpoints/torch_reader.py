"""What torch saves, as zip or in the older format."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from model_zoo.checkpoints.budget import Budget
from model_zoo.checkpoints.contents import Format
from model_zoo.checkpoints.dtypes import ITEM_SIZES, QUANTIZED
from model_zoo.checkpoints.inert_pickle import Pickled, read_pickle
from model_zoo.checkpoints.inert_values import Storage, listed, printable
from model_zoo.checkpoints.pickled import open_pickled
from model_zoo.checkpoints.stored_tensor import FileBytes, Opened, UnpackedBytes, UnreadableError, file_bytes
from model_zoo.checkpoints.zip_records import ZipRecords

#: What torch writes first into a file that is no zip.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

MAX_PICKLE_BYTES = 64 * 2**20
_OTHER_MACHINE = "was written on a big-endian machine"

#: Where the values of a storage are, or why they are not there.
FindStorage = Callable[[Storage], FileBytes | UnpackedBytes | str]


def torch_prefix(archive: ZipRecords) -> str | None:
    """The folder that torch's records lie in, with its slash; None if the zip file is not torch's."""
    pickles = [name for name in archive.records if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) > 1:
        raise UnreadableError(f"is ambiguous: {listed(pickles)} are in it")
    return pickles[0].removesuffix("data.pkl") if pickles else None


def open_torch_zip(archive: ZipRecords, prefix: str) -> Opened:
    """Read a zip file that `torch.save` or `torch.jit.save` wrote.

    Raises:
        UnreadableError: Its pickle cannot be read.
    """
    is_script = f"{prefix}constants.pkl" in archive.records
    budget = archive.budget
    with budget.share(0.75):
        found = read_pickle(io.BytesIO(archive.read(f"{prefix}data.pkl", MAX_PICKLE_BYTES)), budget)
    problems = list(archive.problems)
    # torch stores its records plainly; all but its code could unpack to any size.
    packed = [r.name for r in archive.records.values() if r.deflated and not (is_script and "/code/" in r.name)]
    if packed:
        problems.append(f"is a compressed zip file, which torch does not write: {printable(packed[0])} is packed")
    found.problems[:0] = problems
    metadata: dict[str, object] = {}
    for name in ("version", "byteorder", ".format_version"):
        if f"{prefix}{name}" in archive.records:
            metadata[f"file {name.removeprefix('.')}"] = _text(archive, f"{prefix}{name}")
    foreign = metadata.get("file byteorder", "little") != "little"
    find = _finder(archive, f"{prefix}data/", foreign)
    if not is_script:
        return open_pickled(archive.path, Format.TORCH_ZIP, found, find, metadata, budget)
    with budget.share(0.5):
        constants = read_pickle(io.BytesIO(archive.read(f"{prefix}constants.pkl", MAX_PICKLE_BYTES)), budget)
    metadata["code"] = [
        {"file": printable(name.removeprefix(prefix)), "bytes": record.size}
        for name, record in archive.records.items()
        if name.startswith(f"{prefix}code/") and name.endswith(".py")
    ]
    more = (constants, _finder(archive, f"{prefix}constants/", foreign))
    return open_pickled(archive.path, Format.TORCHSCRIPT, found, find, metadata, budget, constants=more)


def _text(archive: ZipRecords, name: str) -> str:
    return printable(archive.read(name, 1000).decode("utf-8", "replace").strip())


def _finder(archive: ZipRecords, folder: str, foreign: bool) -> FindStorage:
    sources: dict[str, FileBytes | UnpackedBytes | str] = {}

    def find(storage: Storage) -> FileBytes | UnpackedBytes | str:
        if storage.key not in sources:
            name = f"{folder}{storage.key}"
            if foreign:
                sources[storage.key] = _OTHER_MACHINE
            elif name not in archive.records:
                sources[storage.key] = f"storage {printable(name)} is missing"
            else:
                try:
                    sources[storage.key] = archive.source(name)
                except UnreadableError as error:
                    sources[storage.key] = str(error)
        return sources[storage.key]

    return find


def open_torch_legacy(path: Path, budget: Budget) -> Opened:
    """Read a file that `torch.save` wrote before 1.6, or with `_use_new_zipfile_serialization=False`.

    Raises:
        UnreadableError: It is another pickle, or of another version.
    """
    with budget.share(0.8), path.open("rb") as file:
        first = read_pickle(file, budget)
        if type(first.value) is not int or first.value != _LEGACY_MAGIC:
            raise UnreadableError(_no_torch_pickle(first))
        if read_pickle(file, budget).value != _LEGACY_PROTOCOL:
            raise UnreadableError("has a format that only other versions of torch write")
        system = read_pickle(file, budget).value
        foreign = not isinstance(system, dict) or system.get("little_endian") is not True
        with budget.share(0.75):
            found = read_pickle(file, budget)
        places = _legacy_places(path, file, found, budget) if found.whole else {}

    def find(storage: Storage) -> FileBytes | UnpackedBytes | str:
        if foreign:
            return _OTHER_MACHINE
        found_at = places.get(storage.key)
        return f"storage {printable(storage.key)} is missing" if found_at is None else found_at

    return open_pickled(path, Format.TORCH_LEGACY, found, find, {}, budget)


def _no_torch_pickle(found: Pickled) -> str:
    said = "is a pickle, but not one that torch wrote"
    if found.calls:
        said += f"; refuses to call {listed(found.calls)}"
    if names := [name for name in found.names if name not in found.calls]:
        said += f"; it names {listed(names)}"
    return "; ".join([said, *found.problems[:3]])


def _legacy_places(path: Path, content: BinaryIO, found: Pickled, budget: Budget) -> dict[str, FileBytes]:
    """Storages follow the pickle, each behind its count of values."""
    keys, file_size = read_pickle(content, budget), path.stat().st_size
    places: dict[str, FileBytes] = {}
    if not keys.whole or not isinstance(keys.value, list):
        found.note(f"bytes {content.tell()} to the end: the list of storages is truncated or damaged")
        return places
    for key in keys.value:
        budget.work(4)
        storage = found.storages.get(key) if isinstance(key, str) else None
        if storage is None:
            found.note("it lists a storage that no tensor has: where the following ones begin cannot be told")
            return places
        begin = content.tell() + 8
        size = storage.numel * storage_item(storage)
        if begin > file_size:
            found.note(
                f"storage {printable(storage.key)} and those behind it lie beyond the end of the file, byte {file_size}"
            )
            return places
        if int.from_bytes(content.read(8), "little") != storage.numel:
            found.note(f"storage {printable(storage.key)} at byte {begin} has another size than its tensors")
            return places
        places[storage.key] = file_bytes(path, begin, size, file_size)
        content.seek(min(begin + size, file_size))
    return places


def storage_item(storage: Storage) -> int:
    """Bytes of one value of a storage."""
    return 1 if storage.dtype is None else ITEM_SIZES[QUANTIZED.get(storage.dtype, storage.dtype)]
