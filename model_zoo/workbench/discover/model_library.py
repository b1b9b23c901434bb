"""The models of a library, in the child process that builds them: torchvision, timm, or a module of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from model_zoo.utils.errors import UserError
from model_zoo.workbench.discover.families import families
from model_zoo.workbench.discover.verdict import Candidate

if TYPE_CHECKING:
    import torch


#: Why an unannotated function is left out: calling whatever needs no argument could do anything.
NOT_CALLED = "a function whose return annotation is no module class is called only if --test-model names it"


@dataclass(frozen=True)
class Library:
    """What can be built.

    Args:
        build: Constructors by name, to be called without arguments; no weights are asked for.
        left_out: What else might be a model, and why it is not built, by name.
    """

    candidates: list[Candidate]
    build: dict[str, Callable[[], torch.nn.Module]]
    left_out: dict[str, str] = field(default_factory=dict)


def open_library(name: str) -> Library:
    """Import a library and list its models, in its own order.

    Args:
        name: "torchvision", "timm", an importable module, or the path of a .py file.
    """
    known = {"torchvision": _torchvision, "timm": _timm}
    return known[name]() if name in known else _module(name)


def _torchvision() -> Library:
    from torchvision import models

    builders = {name: models.get_model_builder(name) for name in models.list_models()}
    family = families({name: builder.__module__ for name, builder in builders.items()}, "torchvision.models")
    library = Library([], {})
    for name, builder in builders.items():
        asked = inspect.signature(builder).parameters
        nothing: dict[str, Any] = {key: None for key in ("weights", "weights_backbone") if key in asked}
        path = f"{builder.__module__.rpartition('.')[0]}.{builder.__name__}"
        call = f"{path}({', '.join(f'{key}=None' for key in nothing)})"
        library.candidates.append(Candidate(name, builder.__module__, path, call, family[name]))
        library.build[name] = lambda builder=builder, nothing=nothing: builder(**nothing)  # type: ignore[misc]
    return library


def _timm() -> Library:
    import timm

    modules = {name: timm.model_entrypoint(name).__module__ for name in timm.list_models()}
    family = families(modules, "timm.models")
    library = Library([], {})
    for name, module in modules.items():
        call = f"timm.create_model('{name}', pretrained=False)"
        library.candidates.append(Candidate(name, module, f"timm.models.{name}", call, family[name]))
        library.build[name] = lambda name=name: timm.create_model(name, pretrained=False)  # type: ignore[misc]
    return library


def _module(name: str) -> Library:
    """Public module classes and annotated functions that need no argument."""
    module = import_module(name)
    found: dict[str, Any] = {}
    library = Library([], {})
    for key, value in vars(module).items():
        if key.startswith("_") or not _is_defined_in(value, module):
            continue
        problem = _problem(value)
        if problem is None:
            found[key] = value
        elif problem:
            library.left_out[key] = problem
    family = families({key: value.__module__ for key, value in found.items()}, module.__name__.rpartition(".")[0])
    for key, value in found.items():
        path = f"{module.__name__}.{key}"
        library.candidates.append(Candidate(key, value.__module__, path, f"{path}()", family[key]))
        library.build[key] = value
    return library


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
    else:
        try:
            returned = typing.get_type_hints(value).get("return")
        except Exception:  # an annotation that cannot be resolved says nothing
            returned = None
        if returned is None:
            return _needed(value) or NOT_CALLED
        if not (inspect.isclass(returned) and issubclass(returned, torch.nn.Module)):
            return ""
    return _needed(value)


def _needed(value: Any) -> str | None:
    needed = [
        parameter.name
        for parameter in inspect.signature(value).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
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
