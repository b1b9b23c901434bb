"""What goes into a model: names, shapes, dtypes and the meaning of the values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from model_zoo.utils.arguments import checked, checked_fields
from model_zoo.utils.errors import ArgumentError, UserError

#: One sample, or one set of outputs, by tensor name.
Arrays = dict[str, np.ndarray]

DTYPES = ("float32", "float16", "int64", "int32", "int16", "int8", "uint16", "uint8", "bool")

#: No NPU addresses more bytes, and ONNX files hold no more.
MAX_VALUES = 2**31 - 1


class IoType(StrEnum):
    """What a tensor means to the application."""

    IMAGE = "image"
    TENSOR = "tensor"
    TOKEN_IDS = "token_ids"
    AUDIO = "audio"


class ColorOrder(StrEnum):
    """Order of the colour channels of an image tensor."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"


@checked_fields(shape=Sequence[int], io_type=str, value_range=Sequence[float] | None, color_order=str | None)
@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a model's interface, checked when it is built.

    Args:
        shape: Every dimension, the batch included; all positive.
        dtype: One of `DTYPES`.
        io_type: What the tensor means. Images are laid out NCHW here.
        value_range: Smallest and largest valid value, if there is such a range.
        color_order: For images only.

    Raises:
        UserError: A dimension is not a positive integer, or the dtype, range or colour order make no sense, or no
            memory holds so many values.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    io_type: IoType = IoType.TENSOR
    value_range: tuple[float, float] | None = None
    color_order: ColorOrder | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if any(size < 1 for size in self.shape):
            raise UserError(f"shape {self.shape}: every dimension must be a positive integer")
        if math.prod(self.shape) > MAX_VALUES:
            raise UserError(f"shape {self.shape}: that is more than the {MAX_VALUES} values that a tensor may have")
        if self.dtype not in DTYPES:
            raise UserError(f"dtype '{self.dtype}' is not supported", f"use one of {', '.join(DTYPES)}")
        if self.value_range is not None:
            if not _is_range(self.value_range):
                raise UserError(f"value_range {self.value_range} must be (smallest, largest)")
            object.__setattr__(self, "value_range", tuple(self.value_range))
        object.__setattr__(self, "io_type", _member(IoType, "io_type", self.io_type))
        if self.color_order is not None:
            object.__setattr__(self, "color_order", _member(ColorOrder, "color_order", self.color_order))
        if self.io_type is IoType.IMAGE:
            channels = 1 if self.color_order is ColorOrder.GRAY else 3
            if self.color_order is None or len(self.shape) != 4 or self.shape[1] != channels:
                raise UserError(f"an image is [batch, channels, height, width] with a colour order, got {self.shape}")
        elif self.color_order is not None:
            raise UserError("only an image has a colour order")

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values, without empty fields."""
        fields = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        fields = {key: str(value) if isinstance(value, StrEnum) else value for key, value in fields.items()}
        return {key: value for key, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TensorSpec:
        """Build a spec from what `to_json` returned."""
        return cls(**fields)


def _is_range(values: Sequence[float]) -> bool:
    return len(values) == 2 and all(map(math.isfinite, values)) and values[0] < values[1]


def _member(kind: type[StrEnum], name: str, value: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise ArgumentError(name, f" '{value}' does not exist", f"use one of {', '.join(kind)}") from None


#: All inputs (or outputs) of a model, in call order.
InputSpec = dict[str, TensorSpec]


@checked()
def image_spec(height: int, width: int, batch_size: int = 1, multiple_of: int = 1) -> TensorSpec:
    """The convention for a picture: RGB, float32 in 0..1, [batch, 3, height, width].

    Raises:
        UserError: Height or width is not a multiple of what the network halves or cuts the picture into.
    """
    if height % multiple_of or width % multiple_of:
        raise UserError(f"height {height}, width {width}: both must be multiples of {multiple_of}")
    shape = (batch_size, 3, height, width)
    return TensorSpec(shape, io_type=IoType.IMAGE, value_range=(0.0, 1.0), color_order=ColorOrder.RGB)


def random_arrays(spec: InputSpec, seed: int = 0) -> Arrays:
    """One sample of noise that fits the spec: uniform over the value range, small non-negative integers for ids."""
    generator = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, tensor in spec.items():
        low, high = tensor.value_range or ((0.0, 1.0) if tensor.io_type is IoType.IMAGE else (-1.0, 1.0))
        if np.issubdtype(np.dtype(tensor.dtype), np.floating):
            arrays[name] = generator.uniform(low, high, tensor.shape).astype(tensor.dtype)
        else:
            top = int(high) if tensor.value_range else 1
            arrays[name] = generator.integers(int(max(low, 0)), top + 1, tensor.shape).astype(tensor.dtype)
    return arrays


def check_arrays(arrays: Mapping[str, np.ndarray], spec: InputSpec, where: str) -> None:
    """Refuse a sample that does not fit the spec.

    Args:
        where: Names the sample in the message, e.g. "calibration sample 3".

    Raises:
        UserError: A name, shape or dtype differs, or a value is NaN, infinite or outside the spec's range.
    """
    if set(arrays) != set(spec):
        raise UserError(f"{where}: inputs are {sorted(map(str, arrays))}, the model takes {sorted(spec)}")
    for name, tensor in spec.items():
        value = arrays[name]
        if not isinstance(value, np.ndarray):
            raise UserError(f"{where}: '{name}' is {type(value).__name__}, which is no numpy array")
        if value.shape != tensor.shape or value.dtype != np.dtype(tensor.dtype):
            wanted = f"the model takes {tensor.dtype}{list(tensor.shape)}"
            raise UserError(f"{where}: '{name}' is {value.dtype}{list(value.shape)}, {wanted}")
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise UserError(f"{where}: '{name}' holds NaN or infinite values")
        if tensor.value_range is not None:
            low, high = tensor.value_range
            margin = 1e-3 * (high - low)
            if value.min() < low - margin or value.max() > high + margin:
                span = f"{value.min():g} to {value.max():g}"
                raise UserError(f"{where}: '{name}' has values from {span}, the model takes {low:g} to {high:g}")
