"""The models of a library, and what each is tried with: torchvision, timm, or a module of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import typing
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from model_zoo.utils.errors import UserError
from model_zoo.workbench.discover.verdict import ListedModel
from model_zoo.workbench.libraries import SURVEYED

if TYPE_CHECKING:
    import torch

#: Why an unannotated function is left out: calling whatever needs no argument could do anything.
NOT_CALLED = "a function whose return annotation is no module class is called only if --test-model names it"
#: Why a model has no example.
NO_INPUT = "nothing says what forward takes: give the class an example_input_array"

_VERSION = re.compile(r"v?\d+[a-z]?$")
_SHORTEST_FAMILY = 3
_FRAMES, _SIDE, _LENGTH, _TOKENS = 16, 224, 1024, 16


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
        return any(isinstance(each, list | tuple | dict) for each in self.arguments)


class ModelLibrary:
    """An imported library, in the child process that builds its models.

    Attributes:
        models: In the library's own order.
        build: Constructors by name, to be called without arguments; no weights are asked for.
        left_out: What else might be a model, and why it is not built, by name.

    Args:
        name: "torchvision", "timm", an importable module, or the path of a .py file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.models: list[ListedModel] = []
        self.build: dict[str, Callable[[], torch.nn.Module]] = {}
        self.left_out: dict[str, str] = {}
        self._known = SURVEYED[name]() if name in SURVEYED else None
        if self._known:
            package = f"{name}.models"
            for each in self._known.names():
                module, path = self._known.constructor(each)
                self._add(each, module, path, self._known.call(each).text, partial(self._known.build, each, {}))
        else:
            imported = import_module(name)
            package = imported.__name__.rpartition(".")[0]
            for each, value in self._constructors(imported):
                path = f"{imported.__name__}.{each}"
                self._add(each, value.__module__, path, f"{path}()", value)
        family = families({model.name: model.module for model in self.models}, package)
        self.models = [model.model_copy(update={"family": family[model.name]}) for model in self.models]

    def _add(self, name: str, module: str, path: str, call: str, build: Callable[[], Any]) -> None:
        self.models.append(ListedModel(name=name, module=module, path=path, call=call, family=""))
        self.build[name] = build

    def _constructors(self, module: ModuleType) -> Iterator[tuple[str, Any]]:
        """Public module classes and annotated functions that need no argument; others are left out."""
        for name, value in vars(module).items():
            if name.startswith("_") or not _is_defined_in(value, module):
                continue
            problem = _problem(value)
            if problem is None:
                yield name, value
            elif problem:
                self.left_out[name] = problem

    def example(self, name: str, model: torch.nn.Module, device: str) -> Example | None:
        """The arguments to try a model with; None if nothing says what it takes.

        Args:
            device: "meta" for shapes alone.
        """
        import torch
        from torch.utils import _pytree as pytree

        if self._known:
            shapes, source = self._known.published_shapes(name, model)
        elif (own := getattr(model, "example_input_array", None)) is not None:
            arguments = own if isinstance(own, tuple) else (own,)
            moved: tuple[Any, ...] = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), arguments)
            return Example(moved, "its example_input_array")
        else:
            shapes, source = _first_layer(model)
        dtype = torch.int64 if source.endswith("Embedding") else torch.float32

        def zeros(shape: Any) -> Any:
            if isinstance(shape, list):
                return [zeros(each) for each in shape]
            return torch.zeros(shape, dtype=dtype, device=device)

        return Example(tuple(map(zeros, shapes)), source) if shapes else None


def takes_containers(model: torch.nn.Module) -> bool:
    """Whether the forward method is annotated with lists, tuples or dicts."""
    kinds = ("list[", "dict[", "tuple[", "sequence[", "mapping[")
    notes = [str(p.annotation).lower() for p in inspect.signature(model.forward).parameters.values()]
    return any(
        note.removeprefix("typing.").startswith(kinds) or note in ("<class 'list'>", "<class 'dict'>") for note in notes
    )


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


def families(modules: Mapping[str, str], root: str) -> dict[str, str]:
    """The family of each model.

    Models of one module are one family. It is called by the first word that all their names share, else by the module;
    within a sub-package of the library by that and the module, so that a video ResNet is not among the ResNets.

    Args:
        modules: Module of each model's constructor, by the model's name.
        root: The package below which modules count, e.g. "torchvision.models".
    """
    names: dict[str, list[str]] = defaultdict(list)
    for name, module in modules.items():
        names[module].append(name)
    family: dict[str, str] = {}
    for module, members in names.items():
        *package, last = module.removeprefix(f"{root}.").split(".")
        first_words = {_without_version(name.split("_")[0]) for name in members}
        shared = len(first_words) == 1 and len(members) > 1 and not package
        label = first_words.pop() if shared else _without_version(last)
        family |= {name: " ".join([*package, label]).replace("_", " ") for name in members}
    return family


def _without_version(word: str) -> str:
    """E.g. mobilenet for mobilenetv3, vgg for vgg16; s3d stays."""
    short = _VERSION.sub("", word)
    return short if len(short) >= _SHORTEST_FAMILY else word


def import_module(name: str) -> ModuleType:
    """Import an installed module by its name, or a file by its path, with the folder of the file on the path."""
    if name.endswith(".py"):
        sys.path.insert(0, str(Path(name).resolve().parent))
    return importlib.import_module(module_name(name))


def module_name(library: str) -> str:
    """What a module of the user's is imported as."""
    return Path(library).stem if library.endswith(".py") else library


def _is_defined_in(value: Any, module: ModuleType) -> bool:
    """Whether it is a class or function of this module, or of one below that it shows."""
    defined = getattr(value, "__module__", None) or ""
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    return is_code and (defined == module.__name__ or defined.startswith(f"{module.__name__}."))


def _problem(value: Any) -> str | None:
    """Why it is not built; "" if it is no model at all, None if it is built."""
    import torch

    returned = value  # a class returns itself
    if not inspect.isclass(value):
        returned = None
        with suppress(Exception):  # an annotation that cannot be resolved says nothing
            returned = typing.get_type_hints(value).get("return")
    if returned is not None and not (inspect.isclass(returned) and issubclass(returned, torch.nn.Module)):
        return ""
    if inspect.isabstract(value):
        return ""
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(value).parameters.values()
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in optional]
    if needed:
        return f"needs arguments: {', '.join(needed)}"
    return NOT_CALLED if returned is None else None


def check_name(name: str) -> None:
    """Refuse a library that is not there, without importing it.

    Raises:
        UserError: There is no such file or package.
    """
    hint = "--library takes torchvision, timm, a module, or the path of a .py file"
    if name.endswith(".py") or "/" in name:
        if not (name.endswith(".py") and Path(name).is_file()):
            raise UserError(f"there is no Python file {name}", hint)
        if not Path(name).stem.isidentifier():
            raise UserError(f"{name} cannot be imported: its name is no Python identifier", "rename the file")
        return
    top = name.split(".")[0]
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"'{name}' is no name of a module", hint)
    if not importlib.util.find_spec(top):
        if Path(f"{top}.py").is_file():
            hint = f"code of this folder is run only if you name the file: --library ./{top}.py"
        elif Path(top).is_dir():
            hint = f"to run code of this folder, put it on the path: PYTHONPATH=. model-zoo discover --library {name}"
        raise UserError(f"no module '{top}' is installed", hint)
