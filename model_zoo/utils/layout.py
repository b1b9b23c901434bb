"""Channel-first and channel-last arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np


def channels_last(arrays: Mapping[str, np.ndarray], names: Collection[str]) -> dict[str, np.ndarray]:
    """Move axis 1 of the named arrays to the end, e.g. NCHW to NHWC."""
    return {n: np.ascontiguousarray(np.moveaxis(a, 1, -1)) if n in names else a for n, a in arrays.items()}


def channels_first(arrays: Mapping[str, np.ndarray], names: Collection[str]) -> dict[str, np.ndarray]:
    """Move the last axis of the named arrays to axis 1, e.g. NHWC to NCHW."""
    return {n: np.ascontiguousarray(np.moveaxis(a, -1, 1)) if n in names else a for n, a in arrays.items()}
