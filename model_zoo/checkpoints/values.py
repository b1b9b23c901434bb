"""Values of stored tensors through numpy, without torch: all of a small one, or figures of a large one bit by bit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from model_zoo.checkpoints.contents import ValueFigures
from model_zoo.checkpoints.dtypes import numpy_dtype
from model_zoo.checkpoints.stored_tensor import FileBytes, StoredTensor, UnpackedBytes, UnreadableError

#: Values that are looked at at once.
_CHUNK = 2**20


def read_values(place: StoredTensor) -> np.ndarray[Any, Any]:
    """All values of a tensor that was found whole, in its shape.

    Raises:
        UnreadableError: Compressed values are damaged.
    """
    return _values(place, None if isinstance(place.source, FileBytes) else place.source.content())


def figures_by_source(places: Mapping[str, StoredTensor]) -> Iterator[tuple[str, ValueFigures | str]]:
    """Figures of tensors that were found whole, or what is wrong with them. What must be unpacked is unpacked once."""
    for source, names in _by_source(places).items():
        try:
            content = None if isinstance(source, FileBytes) else source.content()
        except UnreadableError as error:
            yield from ((name, str(error)) for name in names)
            continue
        for name in names:
            yield name, _figures(_values(places[name], content))


def _by_source(places: Mapping[str, StoredTensor]) -> dict[FileBytes | UnpackedBytes, list[str]]:
    found: dict[FileBytes | UnpackedBytes, list[str]] = {}
    for name, place in places.items():
        found.setdefault(place.source, []).append(name)
    return found


def _values(place: StoredTensor, content: bytes | memoryview | None) -> np.ndarray[Any, Any]:
    """The values of a place.

    Args:
        content: Of its source, if that had to be unpacked.
    """
    if 0 in place.shape:
        return np.empty(place.shape, numpy_dtype(place.dtype))
    flat = _stored(place, content)
    plain = flat.view(f"V{flat.itemsize}")  # numpy cannot lay out strides of types that are not its own
    steps = [step * flat.itemsize for step in place.strides]
    laid_out = np.lib.stride_tricks.as_strided(plain[place.offset :], place.shape, steps, writeable=False)
    return laid_out.view(flat.dtype)


@np.errstate(all="ignore")
def _figures(values: np.ndarray[Any, Any]) -> ValueFigures:
    count, bad, total, low, high = 0, 0, 0.0, math.inf, -math.inf
    for part in _parts(values):
        numbers = _real(part).ravel()
        finite = numbers[np.isfinite(numbers)]
        bad += numbers.size - finite.size
        if finite.size:
            count += finite.size
            total += float(finite.sum())
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if not count:
        return ValueFigures(bad, None, None, None)
    return ValueFigures(bad, low, high, total / count)


def _real(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values as numbers that can be ordered: the absolute ones of complex numbers."""
    if values.dtype.names:
        return np.asarray(np.hypot(*(values[name].astype(np.float64) for name in values.dtype.names)))
    return np.asarray(np.abs(values.astype(np.complex128)) if values.dtype.kind == "c" else values.astype(np.float64))


def _parts(values: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    if values.size <= _CHUNK or not values.ndim:
        yield values
        return
    if values.ndim > 1 and values[0].size > _CHUNK:
        for row in values:
            yield from _parts(row)
        return
    step = max(1, _CHUNK // max(1, values[0].size))
    for begin in range(0, len(values), step):
        yield values[begin : begin + step]


def _stored(place: StoredTensor, content: bytes | memoryview | None) -> np.ndarray[Any, Any]:
    """The values of the place's source in one row."""
    dtype, source = numpy_dtype(place.dtype), place.source
    if isinstance(source, FileBytes):
        return np.memmap(source.path, dtype, mode="r", offset=source.begin, shape=(source.available // dtype.itemsize,))
    assert content is not None
    return np.frombuffer(content, dtype, len(content) // dtype.itemsize)
