"""The tensors in whatever a network gives: a tensor, a list, a dictionary, or these in each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch


def named_tensors(value: object, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor with its path, e.g. "0.boxes", in order; "output" for a single one. Anything else is left out."""
    if isinstance(value, torch.Tensor):
        yield path or "output", value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from named_tensors(item, f"{path}.{number}".lstrip("."))
