"""safetensors: a JSON header with a place for each tensor, then their bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget
from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.dtypes import ITEM_SIZES, SAFETENSORS
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.stored_tensor import (
    Opened,
    StoredTensor,
    UnreadableError,
    checked_shape,
    describe,
    file_bytes,
    tensor_problems,
)
from model_zoo.checkpoints.untrusted_json import parse_json

#: Enough for some 300,000 tensors; parsed, JSON takes up to twenty times its bytes.
MAX_HEADER_BYTES = 32 * 2**20
#: A file whose first number is larger than that is something else.
_MOST_LENGTH = 2**48


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is meant to be safetensors."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _MOST_LENGTH


def open_safetensors(path: Path, budget: Budget) -> Opened:
    """Read a safetensors file.

    Raises:
        UnreadableError: Its header cannot be read.
    """
    file_size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > file_size - 8:
            raise UnreadableError(
                f"is no whole safetensors file: its header would end at byte {length + 8} of {file_size}"
            )
        if length > MAX_HEADER_BYTES:
            raise UnreadableError(
                f"has a safetensors header of {length} bytes, more than the {MAX_HEADER_BYTES} that are read"
            )
        header = parse_json(file.read(length), "its safetensors header", budget)
    if not isinstance(header, dict):
        raise UnreadableError("is no safetensors file: its header is no JSON object")
    begin = 8 + length
    metadata = header.pop("__metadata__", {})
    infos: dict[str, TensorInfo] = {}
    places: dict[str, StoredTensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        budget.tensor(0)
        place, stored = _place(path, entry, begin, file_size)
        if isinstance(place, str):
            infos[name] = TensorInfo((), stored, 0, place)
            continue
        infos[name] = describe(place, stored)
        if infos[name].problem is None:
            places[name] = place
        spans.append((place.source.begin, place.source.begin + place.source.size, name))  # type: ignore[union-attr]
    problems, notes = tensor_problems({"": infos})
    contents = Contents(
        path=path,
        format=Format.SAFETENSORS,
        nbytes=file_size,
        state_dicts={"": infos} if infos else {},
        main="" if infos else None,
        config=_config(metadata, budget),
        metadata=metadata if isinstance(metadata, dict) else {},
        problems=(*problems, *_gaps(spans, begin, file_size)),
        notes=tuple(notes),
    )
    return Opened(contents, {"": places})


def _place(path: Path, entry: object, begin: int, file_size: int) -> tuple[StoredTensor | str, str]:
    """Where a tensor is, or what is wrong with it; and its type."""
    match entry:
        case {"dtype": str(stored), "shape": list(shape), "data_offsets": [int(first), int(end)]} if (
            all(type(size) is int for size in shape) and 0 <= first <= end < 2**62
        ):
            dtype = SAFETENSORS.get(stored, stored)
        case _:
            return "has no type, shape and place", "unknown"
    try:
        sizes = checked_shape(shape)
    except UnreadableError as error:
        return str(error), printable(dtype)
    item = ITEM_SIZES.get(dtype)
    if item is not None and math.prod(sizes) * item != end - first:
        return f"has {end - first} bytes where {stored} {shape} has {math.prod(sizes) * item}", dtype
    return StoredTensor(file_bytes(path, begin + first, end - first, file_size), dtype, sizes), printable(dtype)


def _gaps(spans: list[tuple[int, int, str]], begin: int, file_size: int) -> list[str]:
    """The format wants each byte to belong to one tensor."""
    ordered = sorted(spans)
    found = [
        f"'{printable(after)}' overlaps '{printable(before)}' at byte {start}"
        for (_, end, before), (start, _, after) in pairwise(ordered)
        if start < end
    ]
    ends = [begin, *(end for _, end, _ in ordered)]
    found += [
        f"bytes {end} to {start} belong to no tensor"
        for end, start in zip(ends, [*(start for start, _, _ in ordered), file_size], strict=True)
        if end < start
    ]
    return found


def _config(metadata: object, budget: Budget) -> Mapping[str, Any] | None:
    """Some writers put the configuration into the header, as JSON in a string."""
    if isinstance(metadata, dict) and isinstance(text := metadata.get("config"), str):
        try:
            found = parse_json(text.encode("utf-8", "surrogatepass"), "the configuration", budget)
        except UnreadableError:
            return None
        return found if isinstance(found, dict) else None
    return None
