"""The child that builds architectures on the meta device, where tensors have no memory, and describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from model_zoo.workbench.recover.foreign import open_no_foreign_files
from model_zoo.workbench.recover.names.architecture import Architecture, Option, SizedBy
from model_zoo.workbench.recover.names.libraries import Library, library
from model_zoo.workbench.recover.names.tensor_hashes import common_root
from model_zoo.workbench.recover.uninitialized import uninitialized


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Give the function that lists a library, or describes one architecture of it.

    Args:
        job: `library`, one of `architecture.LIBRARIES`.
    """
    open_no_foreign_files()
    torch.set_num_threads(1)
    made = library(job["library"])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if "name" not in request:
            return {"names": made.names()}
        try:
            return describe(made, job["library"], request["name"]).to_json()
        except Exception as error:  # whatever a foreign constructor raises is recorded, and the next one is asked for
            text = (str(error).strip() or "no message").splitlines()[0]
            return {"name": request["name"], "failure": f"{type(error).__name__}: {text}"}

    return answer


def describe(made: Library, library_name: str, name: str) -> Architecture:
    """Build an architecture, once more for every option, and say what it has."""
    try:
        return _describe(made, library_name, name, "meta")
    except (NotImplementedError, RuntimeError):  # it computes with values: they are there, if unset, on the CPU
        return _describe(made, library_name, name, "cpu")


def _describe(made: Library, library_name: str, name: str, device: str) -> Architecture:
    with torch.device(device), uninitialized(on_meta=device == "meta"):
        model = made.build(name, {})
        shapes = shapes_of(model)
        options = []
        for option in made.options:
            default = made.default(name, model, option)
            if default is not None and default > 0 and (found := _probe(made, name, option, default, shapes)):
                options.append(found)
    function, arguments, keywords = made.written(name, model)
    root = "".join(f"{part}." for part in common_root(shapes)) if library_name == "zoo" else ""
    return Architecture(
        library=library_name,
        name=name,
        function=function,
        arguments=tuple(arguments),
        keywords=keywords,
        root=root,
        tensors={key.removeprefix(root): shape for key, shape in shapes.items()},
        options=tuple(options),
        inputs=tuple(made.inputs(name, model)),
    )


def _probe(made: Library, name: str, option: str, default: int, shapes: Mapping[str, tuple[int, ...]]) -> Option | None:
    """Compare the model with one built with one class (or channel …) more; None if names change or nothing does."""
    try:
        other = shapes_of(made.build(name, {option: default + 1}))
    except Exception:  # the constructor does not take this argument, or not this value: it is no option then
        return None
    if other.keys() != shapes.keys():
        return None
    sizes = []
    for key, shape in shapes.items():
        if len(shape) != len(other[key]):
            return None
        for dimension, (before, after) in enumerate(zip(shape, other[key], strict=True)):
            if slope := after - before:
                sizes.append(SizedBy(key, dimension, slope, before - slope * default))
    return Option(option, default, tuple(sizes)) if sizes else None


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes by name, in the order of the state dict; entries that are no tensors are left out."""
    return {
        name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)
    }
