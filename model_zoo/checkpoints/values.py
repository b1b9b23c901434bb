"""Values of stored tensors through numpy, without torch: all of a small one, or figures of a large one bit by bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from model_zoo.checkpoints.contents import ValueFigures
from model_zoo.checkpoints.dtypes import ITEM_SIZES, numpy_dtype
from model_zoo.checkpoints.places import FileBytes, Place

#: Values that are looked at at once.
_CHUNK = 2**20


def read_values(place: Place) -> np.ndarray[Any, Any]:
    """All values of a tensor that was found whole, in its shape."""
    flat = _stored(place)
    if 0 in place.shape:
        return np.empty(place.shape, flat.dtype)
    return np.lib.stride_tricks.as_strided(
        flat[place.offset :], place.shape, [step * flat.itemsize for step in place.strides], writeable=False
    )


def value_figures(place: Place) -> ValueFigures:
    """Figures of a tensor that was found whole; holds a few megabytes of it at a time unless it must be unpacked."""
    count, bad, total, low, high = 0, 0, 0.0, math.inf, -math.inf
    for part in _parts(read_values(place)):
        numbers = part.astype(np.complex128 if part.dtype.kind == "c" else np.float64).ravel()
        if numbers.dtype.kind == "c":
            numbers = np.abs(numbers)
        finite = numbers[np.isfinite(numbers)]
        bad += numbers.size - finite.size
        if finite.size:
            count += finite.size
            total += float(finite.sum())
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if not count:
        return ValueFigures(bad, None, None, None)
    return ValueFigures(bad, low, high, total / count)


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


def _stored(place: Place) -> np.ndarray[Any, Any]:
    """The values of the place's source in one row."""
    dtype, source = numpy_dtype(place.dtype), place.source
    if isinstance(source, FileBytes):
        count = source.available // ITEM_SIZES[place.dtype]
        if not count:
            return np.empty(0, dtype)
        return np.memmap(source.path, dtype, mode="r", offset=source.begin, shape=(count,))
    content = source.read()
    return np.frombuffer(content, dtype, len(content) // ITEM_SIZES[place.dtype])
