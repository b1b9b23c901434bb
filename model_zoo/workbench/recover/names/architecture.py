"""One architecture of a library: how to construct it, what tensors it has, and the hashes that it is found by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from model_zoo.workbench.libraries import ConstructorCall
from model_zoo.workbench.recover.recovery import ExampleInput

#: Hashes of names, or of names and shapes.
Hashes = npt.NDArray[np.uint64]


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


class Architecture(ConstructorCall, frozen=True):
    """What one constructor gives.

    Args:
        name: As the library lists it.
        root: What stands before every tensor's name in the module, and was left out of `tensors`.
        tensors: Shapes by name, in the order of the state dict.
        inputs: What to try it with.
    """

    library: str
    name: str
    root: str = ""
    tensors: dict[str, tuple[int, ...]]
    options: tuple[SizeArgument, ...] = ()
    inputs: tuple[ExampleInput, ...] = ()


class FailedArchitecture(BaseModel, frozen=True):
    """One that could not be built, and why."""

    name: str
    failure: str


def is_counter(name: str) -> bool:
    """Whether a tensor only counts the batches of a normalisation: old files lack it, and inference never reads it."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def tensor_hashes(shapes: Mapping[str, Sequence[int]]) -> Hashes:
    """One hash a tensor, of its name and its shape."""
    return key_hashes(f"{name}\0{','.join(map(str, shape))}" for name, shape in shapes.items())


def common_root(names: Iterable[str]) -> list[str]:
    """The modules that all of these tensors lie in, from the outermost on."""
    root, *others = (name.split(".")[:-1] for name in names)
    for other in others:
        same = [a == b for a, b in zip(root, other, strict=False)]
        root = root[: [*same, False].index(False)]
    return root


def key_hashes(texts: Iterable[str]) -> Hashes:
    """One 64-bit hash a name: a checkpoint is compared with thousands of architectures at once."""
    content = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(content, dtype=np.uint64)
