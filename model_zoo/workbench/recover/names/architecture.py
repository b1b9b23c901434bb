"""One architecture of a library: how to construct it, what tensors it has, and which of them its arguments change."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from model_zoo.workbench.recover.recovery import ExampleInput

#: In the order of the search, from the quickest index to the slowest; it is also the order of preference where several
#: constructors give the same tensors.
LIBRARIES = ("torchvision", "zoo", "transformers", "timm")


@dataclass(frozen=True)
class SizedBy:
    """A dimension of a tensor that an argument sets: `slope * argument + intercept`."""

    tensor: str
    dimension: int
    slope: int
    intercept: int


@dataclass(frozen=True)
class SizeArgument:
    """An argument of the constructor that changes shapes and no names, e.g. the number of classes.

    Args:
        default: Its value if it is left out.
        sizes: Every dimension that it sets.
    """

    name: str
    default: int
    sizes: tuple[SizedBy, ...]


class Architecture(BaseModel, frozen=True):
    """What one constructor gives.

    Args:
        name: As the library lists it.
        function: Dotted name of the constructor.
        arguments: Positional ones as they are written in Python: literals that we made ourselves.
        keywords: Keyword arguments, the same way.
        root: What stands before every tensor's name in the module, and was left out of `tensors`.
        tensors: Shapes by name, in the order of the state dict.
        inputs: What to try it with.
    """

    library: str
    name: str
    function: str
    arguments: tuple[str, ...] = ()
    keywords: dict[str, str] = {}
    root: str = ""
    tensors: dict[str, tuple[int, ...]]
    options: tuple[SizeArgument, ...] = ()
    inputs: tuple[ExampleInput, ...] = ()


class FailedArchitecture(BaseModel, frozen=True):
    """One that could not be built, and why."""

    name: str
    failure: str
