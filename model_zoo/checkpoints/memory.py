"""Whether tensors fit into memory, before any of them is unpacked."""

from __future__ import annotations

from collections.abc import Iterable

from model_zoo.checkpoints.places import FileBytes, Place
from model_zoo.utils.errors import UserError


def check_memory(places: Iterable[Place], what: str) -> None:
    """Refuse tensors that must be unpacked into more memory than is free. What is mapped from a file always fits.

    Raises:
        UserError: With the size that is needed.
    """
    import psutil

    unpacked = {place.source for place in places if not isinstance(place.source, FileBytes)}
    needed, free = sum(source.size for source in unpacked), int(psutil.virtual_memory().available)
    if needed > free:
        raise UserError(
            f"{what} needs {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free",
            "convert it to safetensors, which is read in place, or use a larger machine",
        )
