"""The models of a library, in the child process that builds them: torchvision, timm, or a module of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import typing
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from model_zoo.utils.errors import UserError
from model_zoo.workbench.discover.verdict import ListedModel
from model_zoo.workbench.libraries import SURVEYED, Timm, Torchvision

if TYPE_CHECKING:
    import torch

#: Why an unannotated function is left out: calling whatever needs no argument could do anything.
NOT_CALLED = "a function whose return annotation is no module class is called only if --test-model names it"

_VERSION = re.compile(r"v?\d+[a-z]?$")
_SHORTEST_FAMILY = 3


class ModelLibrary:
    """An imported library: its models in its own order, and their constructors.

    Attributes:
        build: Constructors by name, to be called without arguments; no weights are asked for.
        left_out: What else might be a model, and why it is not built, by name.

    Args:
        name: "torchvision", "timm", an importable module, or the path of a .py file.
    """

    def __init__(self, name: str) -> None:
        self.models: list[ListedModel] = []
        self.build: dict[str, Callable[[], torch.nn.Module]] = {}
        self.left_out: dict[str, str] = {}
        if name in SURVEYED:
            self._list_known(SURVEYED[name]())
        else:
            self._list_module(import_module(name))

    def _list_known(self, library: Torchvision | Timm) -> None:
        constructors = {name: library.constructor(name) for name in library.names()}
        family = families({name: module for name, (module, _) in constructors.items()}, f"{library.name}.models")
        for name, (module, path) in constructors.items():
            self._add(name, module, path, library.call(name).text, family, partial(library.build, name, {}))

    def _list_module(self, module: ModuleType) -> None:
        """Public module classes and annotated functions that need no argument."""
        constructors: dict[str, Any] = {}
        for name, value in vars(module).items():
            if name.startswith("_") or not _is_defined_in(value, module):
                continue
            problem = _problem(value)
            if problem is None:
                constructors[name] = value
            elif problem:
                self.left_out[name] = problem
        modules = {name: value.__module__ for name, value in constructors.items()}
        family = families(modules, module.__name__.rpartition(".")[0])
        for name, value in constructors.items():
            path = f"{module.__name__}.{name}"
            self._add(name, modules[name], path, f"{path}()", family, value)

    def _add(
        self, name: str, module: str, path: str, call: str, family: Mapping[str, str], build: Callable[[], Any]
    ) -> None:
        self.models.append(ListedModel(name=name, module=module, path=path, call=call, family=family[name]))
        self.build[name] = build


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
    if not name.endswith(".py"):
        return importlib.import_module(name)
    sys.path.insert(0, str(Path(name).resolve().parent))
    return importlib.import_module(Path(name).stem)


def _is_defined_in(value: Any, module: ModuleType) -> bool:
    """Whether it is a class or function of this module, or of one below that it shows."""
    defined = getattr(value, "__module__", None) or ""
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    return is_code and (defined == module.__name__ or defined.startswith(f"{module.__name__}."))


def _problem(value: Any) -> str | None:
    """Why it is not built; "" if it is no model at all, None if it is built."""
    import torch

    if inspect.isclass(value):
        if not issubclass(value, torch.nn.Module) or inspect.isabstract(value):
            return ""
        return _missing_arguments(value)
    try:
        returned = typing.get_type_hints(value).get("return")
    except Exception:  # an annotation that cannot be resolved says nothing
        returned = None
    if returned is None:
        return _missing_arguments(value) or NOT_CALLED
    is_model = inspect.isclass(returned) and issubclass(returned, torch.nn.Module)
    return _missing_arguments(value) if is_model else ""


def _missing_arguments(value: Any) -> str | None:
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(value).parameters.values()
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in optional]
    return f"needs arguments: {', '.join(needed)}" if needed else None


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
