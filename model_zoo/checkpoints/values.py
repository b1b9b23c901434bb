"""Values of stored tensors: as numpy arrays, as torch tensors mapped into memory, or as figures of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_zoo.checkpoints.budget import UnreadableError
from model_zoo.checkpoints.contents import ValueFigures
from model_zoo.checkpoints.stored_tensor import ITEM_SIZES, FileBytes, Source, StoredTensor, UnpackedBytes, numpy_dtype
from model_zoo.utils.errors import UserError

if TYPE_CHECKING:
    import torch

#: Values that are looked at at once.
_CHUNK = 2**20


def unpacked_bytes(tensors: Iterable[StoredTensor]) -> int:
    """What tensors take that are not mapped from a file: those that must be unpacked, and copies of one part of a file
    that several tensors are taken from at odd addresses.
    """
    sources = {(stored.source, stored.dtype) for stored in tensors if stored.source.size}
    copied: Counter[Path] = Counter()
    for source, dtype in sources:
        if isinstance(source, FileBytes) and source.begin % ITEM_SIZES[dtype]:
            copied[source.path] += source.available
    unpacked = {source for source, _ in sources if isinstance(source, UnpackedBytes)}
    again = sum(max(0, size - path.stat().st_size) for path, size in copied.items())
    return sum(source.size for source in unpacked) + again


def check_memory(tensors: Iterable[StoredTensor], what: str) -> None:
    """Refuse tensors that must be unpacked into more memory than is free. What is mapped from a file always fits."""
    hint = "convert it to safetensors, which is read in place, or use a larger machine"
    check_free_memory(unpacked_bytes(tensors), what, hint)


def check_free_memory(needed: int, what: str, hint: str) -> None:
    """Refuse what needs more bytes of memory than are free with a `UserError`."""
    import psutil

    free = int(psutil.virtual_memory().available)
    if needed > free:
        raise UserError(f"{what} needs {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free", hint)


class _Sources:
    """The bytes behind tensors, each source mapped or unpacked once, so that those that share a storage still do.

    Those that are writable may be changed in memory, which never changes the file.
    """

    def __init__(self, writable: bool = False) -> None:
        self._writable = writable
        self._files: dict[Path, np.ndarray[Any, Any]] = {}
        self._unpacked: dict[UnpackedBytes, np.ndarray[Any, Any]] = {}

    def bytes(self, source: Source) -> np.ndarray[Any, Any]:
        if isinstance(source, UnpackedBytes):
            if source not in self._unpacked:
                content = bytearray(source.content()) if self._writable else source.content()
                self._unpacked[source] = np.frombuffer(content, np.uint8)
            return self._unpacked[source]
        if source.path not in self._files:
            self._files[source.path] = np.memmap(source.path, np.uint8, mode="c" if self._writable else "r")
        return self._files[source.path][source.begin : source.begin + source.available]


def read_values(stored: StoredTensor, sources: _Sources | None = None) -> np.ndarray[Any, Any]:
    """All values of a tensor, in its shape."""
    dtype = numpy_dtype(stored.dtype)
    if 0 in stored.shape:
        return np.empty(stored.shape, dtype)
    raw, item = (sources or _Sources()).bytes(stored.source), dtype.itemsize
    row = raw[: raw.size // item * item].view(f"V{item}")  # numpy cannot lay out strides of types that are not its own
    steps = [step * item for step in stored.strides]
    return np.lib.stride_tricks.as_strided(row[stored.offset :], stored.shape, steps, writeable=False).view(dtype)


def load_tensors(tensors: Mapping[str, StoredTensor], what: str, partial: bool) -> dict[str, torch.Tensor]:
    """Tensors on the CPU in the type they are stored in, mapped into memory where their layout allows.

    Changing one does not change the file. Compressed values that are damaged are left out if `partial`, or else an
    `UnreadableError`; a `UserError` refuses what cannot be mapped and needs more memory than is free.
    """
    import torch

    check_memory(tensors.values(), what)
    sources = _Sources(writable=True)
    rows: dict[tuple[Source, str], torch.Tensor] = {}
    loaded: dict[str, torch.Tensor] = {}
    for name, stored in tensors.items():
        dtype, key = getattr(torch, stored.dtype), (stored.source, stored.dtype)
        if 0 in stored.shape:
            loaded[name] = torch.empty(stored.shape, dtype=dtype)
            continue
        try:
            if key not in rows:
                raw = sources.bytes(stored.source)
                raw = raw[: raw.size // dtype.itemsize * dtype.itemsize]
                odd = raw.ctypes.data % dtype.itemsize  # vector code expects whole addresses
                rows[key] = torch.from_numpy(raw.copy() if odd else raw).view(dtype)
            loaded[name] = rows[key].as_strided(stored.shape, stored.strides, stored.offset)
        except UnreadableError as error:
            if not partial:
                raise UnreadableError(f"'{name}': {error}") from error
    return loaded


def figures_by_source(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, ValueFigures | str]]:
    """Figures of tensors, or what is wrong with them. What must be unpacked is unpacked once."""
    by_source: dict[Source, list[str]] = {}
    for name, stored in tensors.items():
        by_source.setdefault(stored.source, []).append(name)
    mapped = _Sources()
    for source, names in by_source.items():
        sources = mapped
        try:
            if isinstance(source, UnpackedBytes):
                sources = _Sources()  # so that what was unpacked is free again after its tensors
                sources.bytes(source)
        except UnreadableError as error:
            yield from ((name, str(error)) for name in names)
            continue
        for name in names:
            yield name, _figures(read_values(tensors[name], sources))


@np.errstate(all="ignore")
def _figures(values: np.ndarray[Any, Any]) -> ValueFigures:
    count, bad, total, low, high = 0, 0, 0.0, math.inf, -math.inf
    for part in np.nditer(values, ["external_loop", "buffered", "zerosize_ok"], order="K", buffersize=_CHUNK):
        numbers = _real(np.asarray(part))
        finite = numbers[np.isfinite(numbers)]
        bad += numbers.size - finite.size
        if finite.size:
            count += finite.size
            total += float(finite.sum())
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return ValueFigures(bad, low, high, total / count) if count else ValueFigures(bad, None, None, None)


def _real(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values as numbers that can be ordered: the absolute ones of complex numbers."""
    if values.dtype.names:
        return np.asarray(np.hypot(*(values[name].astype(np.float64) for name in values.dtype.names)))
    return np.asarray(np.abs(values.astype(np.complex128)) if values.dtype.kind == "c" else values.astype(np.float64))
