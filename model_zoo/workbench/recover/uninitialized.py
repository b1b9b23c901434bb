"""Build modules without drawing their weights: a checkpoint takes their place, or only shapes are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: What weights are drawn with, beside torch.nn.init; without effect on tensors that have no memory.
_DRAWING = ("uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_")


def _leave(tensor: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
    return tensor


@contextmanager
def uninitialized(on_meta: bool = False) -> Iterator[None]:
    """Skip the drawing of weights, which takes most of the time of building a module.

    Args:
        on_meta: Tensors have no memory, so that methods of tensors which only draw can be skipped too.
    """
    init = torch.nn.init
    places: list[tuple[Any, str]] = [
        (init, name) for name in vars(init) if name.endswith("_") and not name.startswith("_")
    ]
    places += [(torch.Tensor, name) for name in _DRAWING] if on_meta else []
    kept = [(owner, name, getattr(owner, name)) for owner, name in places]
    try:
        for owner, name in places:
            setattr(owner, name, _leave)
        yield
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)
