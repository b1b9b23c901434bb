"""Torch in half precision on a CPU, without waiting for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_WIDENED = ("conv", "grid_sample")


class QuickHalf(TorchFunctionMode):
    """Inside the block, functions of `_WIDENED` work in single precision and are rounded to half once, at the end.

    For convolutions so do torch's own half kernels, nearly: the results are a step or two apart. Those take 14 times as
    long on a CPU without half-precision arithmetic. Torch's own half `grid_sample` reads outside of strided inputs:
    NaN, or a crash.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one function of torch."""
        kwargs = kwargs or {}
        if not getattr(func, "__name__", "").startswith(_WIDENED) or not _is_half(args[0]):
            return func(*args, **kwargs)
        return func(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()}).half()


def _is_half(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype is torch.float16


def _widened(value: Any) -> Any:
    return value.float() if _is_half(value) else value
