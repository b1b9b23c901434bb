"""Whether tensors fit into memory, before any of them is unpacked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from model_zoo.checkpoints.dtypes import ITEM_SIZES
from model_zoo.checkpoints.stored_tensor import FileBytes, StoredTensor
from model_zoo.utils.errors import UserError


def unpacked_bytes(places: Iterable[StoredTensor]) -> int:
    """What tensors take that are not mapped from a file: those that must be unpacked, and copies of one part of a file
    that several tensors are taken from at odd addresses.
    """
    sources = {(place.source, place.dtype) for place in places if place.source.size}
    copied: Counter[Path] = Counter()
    for source, dtype in sources:
        if isinstance(source, FileBytes) and source.begin % ITEM_SIZES[dtype]:
            copied[source.path] += source.available
    unpacked = {source for source, _ in sources if not isinstance(source, FileBytes)}
    again = sum(max(0, size - path.stat().st_size) for path, size in copied.items())
    return sum(source.size for source in unpacked) + again


def check_memory(places: Iterable[StoredTensor], what: str) -> None:
    """Refuse tensors that must be unpacked into more memory than is free. What is mapped from a file always fits.

    Raises:
        UserError: With the size that is needed.
    """
    import psutil

    needed, free = unpacked_bytes(places), int(psutil.virtual_memory().available)
    if needed > free:
        raise UserError(
            f"{what} needs {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free",
            "convert it to safetensors, which is read in place, or use a larger machine",
        )
