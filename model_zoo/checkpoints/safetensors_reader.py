"""safetensors: a JSON header that says where each tensor is, then their bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format, TensorInfo
from model_zoo.checkpoints.stored_tensor import ITEM_SIZES, FileBytes, StoredTensor, checked_shape
from model_zoo.checkpoints.untrusted_json import parse_json
from model_zoo.utils.text import printable

SAFETENSORS = {
    **{"BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16"},
    **{"BF16": "bfloat16", "U32": "uint32", "I32": "int32", "F32": "float32", "C64": "complex64"},
    **{"U64": "uint64", "I64": "int64", "F64": "float64", "F8_E8M0": "float8_e8m0fnu"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz"},
    **{"F8_E5M2": "float8_e5m2", "F8_E5M2FNUZ": "float8_e5m2fnuz"},
}

#: Enough for some 300,000 tensors; parsed, JSON takes up to twenty times its bytes.
_MOST_HEADER_BYTES = 32 * 2**20
#: A file whose first number is larger than that is something else.
_MOST_LENGTH = 2**48


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is meant to be safetensors."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _MOST_LENGTH


def read_safetensors(path: Path, budget: Budget) -> Contents:
    file_size = path.stat().st_size
    header, begin = _header(path, file_size, budget)
    metadata = header.pop("__metadata__", {})
    built = ContentsBuilder(path, Format.SAFETENSORS, main="" if header else None, config=_config(metadata, budget))
    built.metadata = metadata if isinstance(metadata, dict) else {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        budget.tensor()
        match entry:
            case {"dtype": str(stored), "shape": list(shape), "data_offsets": [int(first), int(end)]} if (
                all(type(size) is int for size in shape) and 0 <= first <= end < 2**62
            ):
                values = FileBytes.of(path, begin + first, end - first, file_size)
                info = _info(values, stored, shape)
                if info.nbytes == values.size:  # else its range is not believed
                    spans.append((values.begin, values.begin + values.size, name))
            case _:
                info = TensorInfo.unreadable("has no type, shape and place")
        built.add("", name, info)
    built.report()
    built.problems += _gaps(sorted(spans), begin, file_size)
    return built.build(file_size)


def _header(path: Path, file_size: int, budget: Budget) -> tuple[dict[str, Any], int]:
    """The header, and where it ends."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        end = 8 + length
        if end > file_size:
            raise UnreadableError(f"is no whole safetensors file: its header would end at byte {end} of {file_size}")
        if length > _MOST_HEADER_BYTES:
            most = f"more than the {_MOST_HEADER_BYTES} that are read"
            raise UnreadableError(f"has a safetensors header of {length} bytes, {most}")
        header = parse_json(file.read(length), "its safetensors header", budget)
    if not isinstance(header, dict):
        raise UnreadableError("is no safetensors file: its header is no JSON object")
    return header, end


def _info(values: FileBytes, stored: str, shape: list[int]) -> TensorInfo:
    dtype = SAFETENSORS.get(stored, stored)
    try:
        sizes = checked_shape(shape)
    except UnreadableError as error:
        return TensorInfo.unreadable(error, printable(dtype))
    size = math.prod(sizes) * ITEM_SIZES.get(dtype, 0)
    if dtype in ITEM_SIZES and size != values.size:
        return TensorInfo.unreadable(f"has {values.size} bytes where {stored} {shape} has {size}", dtype)
    return TensorInfo.of(StoredTensor(values, dtype, sizes))


def _gaps(spans: list[tuple[int, int, str]], begin: int, file_size: int) -> list[str]:
    """What is wrong with the ranges of tensors, in order: the format wants each byte to belong to one tensor."""
    problems = [
        f"'{printable(after)}' overlaps '{printable(before)}' at byte {start}"
        for (_, end, before), (start, _, after) in pairwise(spans)
        if start < end
    ]
    ends, starts = [begin, *(end for _, end, _ in spans)], [*(start for start, _, _ in spans), file_size]
    return problems + [
        f"bytes {end} to {start} belong to no tensor" for end, start in zip(ends, starts, strict=True) if end < start
    ]


def _config(metadata: object, budget: Budget) -> Mapping[str, Any] | None:
    """Some writers put the configuration into the header, as JSON in a string."""
    if not isinstance(metadata, dict) or not isinstance(text := metadata.get("config"), str):
        return None
    try:
        config = parse_json(text.encode("utf-8", "surrogatepass"), "the configuration", budget)
    except UnreadableError:
        return None
    return config if isinstance(config, dict) else None
