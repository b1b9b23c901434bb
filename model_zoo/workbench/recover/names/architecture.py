"""One architecture of a library: how to construct it, what tensors it has, and which of them its arguments change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

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
class Option:
    """An argument of the constructor that changes shapes and no names, e.g. the number of classes.

    Args:
        default: Its value if it is left out.
        sizes: Every dimension that it sets.
    """

    name: str
    default: int
    sizes: tuple[SizedBy, ...]


@dataclass(frozen=True)
class Architecture:
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
    arguments: tuple[str, ...]
    keywords: Mapping[str, str]
    root: str
    tensors: Mapping[str, tuple[int, ...]]
    options: tuple[Option, ...]
    inputs: tuple[ExampleInput, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values that `from_json` reads."""
        return {
            "library": self.library,
            "name": self.name,
            "function": self.function,
            "arguments": list(self.arguments),
            "keywords": dict(self.keywords),
            "root": self.root,
            "tensors": {name: list(shape) for name, shape in self.tensors.items()},
            "options": [
                [o.name, o.default, [[s.tensor, s.dimension, s.slope, s.intercept] for s in o.sizes]]
                for o in self.options
            ],
            "inputs": [[i.name, list(i.shape), i.dtype, i.high] for i in self.inputs],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(
            library=value["library"],
            name=value["name"],
            function=value["function"],
            arguments=tuple(value["arguments"]),
            keywords=value["keywords"],
            root=value["root"],
            tensors={name: tuple(shape) for name, shape in value["tensors"].items()},
            options=tuple(
                Option(n, default, tuple(SizedBy(*s) for s in sizes)) for n, default, sizes in value["options"]
            ),
            inputs=tuple(ExampleInput(n, tuple(shape), dtype, high) for n, shape, dtype, high in value["inputs"]),
        )
