"""Takes a model's outputs apart and refuses what no such model gives."""

from __future__ import annotations

from typing import Literal

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.utils.errors import ModelZooError


def one_output(outputs: Arrays, *axes: str, batch: int | None = None, before: int | None = None) -> np.ndarray:
    """The output of a model that has but one.

    Args:
        axes: What its axes after the batch are, e.g. "classes", "height"; a number is its size, e.g. "4".
        batch: How many samples it must hold.
        before: How many samples went before, for the message.

    Raises:
        ModelZooError: There is another number of outputs, of dimensions, or of samples, or values are not finite.
    """
    if len(outputs) != 1:
        raise ModelZooError(f"such a model has one output, got {', '.join(outputs) or 'none'}")
    name = next(iter(outputs))
    return named_output(outputs, name, *axes, batch=batch, before=before)


def named_output(
    outputs: Arrays, name: str, *axes: str, batch: int | None = None, before: int | None = None
) -> np.ndarray:
    """One of several outputs; as `one_output`.

    Raises:
        ModelZooError: There is no output of this name as well.
    """
    if name not in outputs:
        raise ModelZooError(f"the outputs lack '{name}', got {', '.join(outputs) or 'none'}")
    values = outputs[name]
    wanted = f"[{', '.join([str(batch or 'batch'), *axes])}]"
    if (
        values.ndim != 1 + len(axes)
        or values.size == 0
        or batch not in (None, len(values))
        or any(axis.isdigit() and int(axis) != size for axis, size in zip(axes, values.shape[1:], strict=True))
    ):
        raise ModelZooError(f"'{name}' must be {wanted}, got {list(values.shape)}")
    if not np.isfinite(values).all():
        where = "" if before is None else f" after {before} samples"
        raise ModelZooError(f"'{name}' holds NaN or infinite values{where}")
    return values


def resized(planes: np.ndarray, size: tuple[int, ...], mode: Literal["bilinear", "nearest"] = "bilinear") -> np.ndarray:
    """Planes [C, h, w] brought to [C, H, W], as float32; as they are where they have the size."""
    if planes.shape[1:] == size:
        return planes
    from torch import from_numpy
    from torch.nn.functional import interpolate

    values = from_numpy(planes.astype(np.float32))[None]
    found: np.ndarray = interpolate(values, size, mode=mode)[0].numpy()
    return found
