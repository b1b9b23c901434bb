"""What a model is tried with, taken from what the model says about itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_zoo.workbench.libraries import SURVEYED

if TYPE_CHECKING:
    import torch

_FRAMES = 16
_SIDE = 224
_LENGTH = 1024
_TOKENS = 16


#: Why a model has no example.
NO_INPUT = "nothing says what forward takes: give the class an example_input_array"


@dataclass(frozen=True)
class Example:
    """Positional arguments on the device of the model.

    Args:
        source: What they rest on.
    """

    arguments: tuple[Any, ...]
    source: str

    @property
    def text(self) -> str:
        """Types, shapes and source in one line."""
        return f"{', '.join(_describe(each) for each in self.arguments)} ({self.source})"

    @property
    def has_containers(self) -> bool:
        """Whether the model takes lists or dicts."""
        return any(isinstance(each, list | tuple | dict) for each in self.arguments)


def takes_containers(model: torch.nn.Module) -> bool:
    """Whether the forward method is annotated with lists, tuples or dicts."""
    kinds = ("list[", "dict[", "tuple[", "sequence[", "mapping[")
    notes = [str(p.annotation).lower() for p in inspect.signature(model.forward).parameters.values()]
    return any(
        note.removeprefix("typing.").startswith(kinds) or note in ("<class 'list'>", "<class 'dict'>") for note in notes
    )


def example_for(library: str, name: str, model: torch.nn.Module, device: str) -> Example | None:
    """The arguments to try a model with; None if nothing says what it takes.

    Args:
        device: "meta" for shapes alone.
    """
    import torch
    from torch.utils import _pytree as pytree

    if library in SURVEYED:
        shapes, source = SURVEYED[library]().published_shapes(name, model)
    elif (own := getattr(model, "example_input_array", None)) is not None:
        arguments = own if isinstance(own, tuple) else (own,)
        moved: tuple[Any, ...] = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), arguments)
        return Example(moved, "its example_input_array")
    else:
        shapes, source = _first_layer(model)
    dtype = torch.int64 if source.endswith("Embedding") else torch.float32

    def zeros(shape: Any) -> Any:
        return (
            [zeros(each) for each in shape]
            if isinstance(shape, list)
            else torch.zeros(shape, dtype=dtype, device=device)
        )

    return Example(tuple(zeros(shape) for shape in shapes), source) if shapes else None


def _first_layer(model: torch.nn.Module) -> tuple[list[tuple[int, ...]], str]:
    """A shape that the first layer of a user's model takes: a guess, and said to be one."""
    from torch import nn

    shapes: dict[type[nn.Module], Callable[[Any], tuple[int, ...]]] = {
        nn.Conv1d: lambda layer: (1, layer.in_channels, _LENGTH),
        nn.Conv2d: lambda layer: (1, layer.in_channels, _SIDE, _SIDE),
        nn.Conv3d: lambda layer: (1, layer.in_channels, _FRAMES, _SIDE // 2, _SIDE // 2),
        nn.Linear: lambda layer: (1, layer.in_features),
        nn.Embedding: lambda layer: (1, _TOKENS),
    }
    needed = [p for p in inspect.signature(model.forward).parameters.values() if p.default is p.empty]
    if len(needed) == 1 and not takes_containers(model):
        for layer in model.modules():
            for kind, shape in shapes.items():
                if isinstance(layer, kind):
                    return [shape(layer)], f"assumed from its first layer, {type(layer).__name__}"
    return [], ""


def _describe(value: Any) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"list of {', '.join(map(_describe, value))}"
    if isinstance(value, dict):
        return f"dict of {', '.join(f'{key}: {_describe(each)}' for key, each in value.items())}"
    return type(value).__name__
