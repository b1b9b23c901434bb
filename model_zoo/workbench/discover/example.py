"""What a model is tried with, taken from what the model says about itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

    if library == "torchvision":
        shapes, source = _torchvision(name, model)
    elif library == "timm":
        config: Any = model.pretrained_cfg
        shapes, source = [(1, *config["input_size"])], "its pretrained_cfg"
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


def _torchvision(name: str, model: torch.nn.Module) -> tuple[list[Any], str]:
    """Shapes, a list for a list of one, from the transforms and the metadata of the published weights."""
    from torchvision import models

    published = models.get_model_weights(name)
    weights = getattr(published, "DEFAULT", None) or next(iter(published))
    transforms = weights.transforms()
    kind = type(transforms).__name__
    source = f"{kind} of its published weights"
    if kind == "ObjectDetection":
        own: Any = model.transform
        height, width = own.fixed_size[::-1] if own.fixed_size else (own.min_size[-1], own.min_size[-1])
        return [[(3, height, width)]], f"{source}, at the size of its own transform"
    if kind == "OpticalFlow":
        return [(1, 3, *weights.meta["min_size"])] * 2, f"{source}, at their smallest size"
    if kind == "VideoClassification":
        frames = max(_FRAMES, weights.meta.get("min_temporal_size", 1))
        return [(1, 3, frames, *transforms.crop_size)], f"{source}, {frames} frames"
    own_size = getattr(model, "image_size", None)  # of vision transformers: without weights it may be another
    if isinstance(own_size, int):
        return [(1, 3, own_size, own_size)], "its own image_size"
    size = list(transforms.crop_size if hasattr(transforms, "crop_size") else transforms.resize_size)
    return [(1, 3, size[0], size[-1])], source


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
