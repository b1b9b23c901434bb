"""Arguments of the functions that users call, checked before any work starts."""

from __future__ import annotations

import functools
import inspect
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, get_args, get_origin, get_type_hints

from model_zoo.utils.errors import ArgumentError, UserError, nearest
from model_zoo.utils.files import path_problem

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_P = ParamSpec("_P")
_R = TypeVar("_R")


def checked(**instead: Any) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function refuse arguments that are not of its annotated types, with a `UserError` that names them.

    Types are meant strictly: True is no int, "no" is no bool, and no text and no path is empty. `instead` has types to
    check instead of annotations.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        signature = inspect.signature(function)
        types = functools.cache(lambda: _types(function, signature, instead))

        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            arguments = _bound(function, signature, args, kwargs)
            for name, (kind, adapter) in types().items():
                if name in arguments:
                    _check(name, arguments[name], kind, adapter, signature.parameters[name].annotation)
            return function(*args, **kwargs)

        return call

    return decorate


def _types(
    function: Callable[..., object], signature: inspect.Signature, instead: Mapping[str, Any]
) -> dict[str, tuple[Any, TypeAdapter[Any]]]:
    """Types by parameter. What pydantic would look into is taken as it is: a dataclass is checked when it is made."""
    from pydantic import ConfigDict, InstanceOf, TypeAdapter

    parameters = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    annotations = {p.name: p.annotation for p in parameters if p.annotation is not p.empty and p.name not in instead}
    hints = get_type_hints(SimpleNamespace(__annotations__=annotations), inspect.unwrap(function).__globals__)
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    adapters = {}
    for name, kind in {**hints, **instead}.items():
        adapter = TypeAdapter(cast(Any, InstanceOf)[kind]) if is_dataclass(kind) else TypeAdapter(kind, config=config)
        adapters[name] = kind, adapter
    return adapters


def _bound(
    function: Callable[..., object], signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments by name."""
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    names = [p.name for p in parameters if p.name not in ("self", "cls")]
    if len(parameters) == len(signature.parameters):
        for name in kwargs:
            if name not in names:
                near = nearest(name, names)
                meant = f"did you mean {', '.join(near)}?" if near else f"it takes {', '.join(names) or 'none'}"
                raise ArgumentError(name, f" is no argument of {_title(function)}", meant)
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise UserError(f"{_title(function)}: {error}", f"it takes {', '.join(names) or 'no arguments'}") from error


def _check(name: str, value: Any, kind: Any, adapter: TypeAdapter[Any], annotation: Any) -> None:
    from pydantic import ValidationError

    try:
        adapter.validate_python(value)
    except ValidationError as error:
        wanted = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        raise ArgumentError(name, f" is {_short(value)}, which is no {wanted}") from error
    if value == "" if isinstance(value, str) else isinstance(value, list | tuple) and "" in value:
        raise ArgumentError(name, " is empty" if value == "" else " holds an empty text", "leave it out")
    takes_paths = any(each in (Path, os.PathLike) for each in (kind, *get_args(kind), *map(get_origin, get_args(kind))))
    if isinstance(value, str | os.PathLike) and takes_paths and (problem := path_problem(value)):
        raise ArgumentError(name, f": {problem}")


def _short(value: object) -> str:
    return f"{reprlib.repr(value)} ({type(value).__name__})" if value is not None else "None"


def _title(function: Callable[..., object]) -> str:
    return function.__qualname__.removesuffix(".__init__")


def checked_methods(owner: type, *names: str) -> None:
    """Make class methods and static methods that a class itself defines refuse wrong arguments, as `checked` does."""
    for name in names:
        method = vars(owner).get(name)
        if isinstance(method, classmethod | staticmethod):
            setattr(owner, name, type(method)(checked()(method.__func__)))


def checked_fields(**instead: Any) -> Callable[[type[_R]], type[_R]]:
    """Make a dataclass refuse fields of wrong types, as `checked` does."""

    def decorate(owner: type[_R]) -> type[_R]:
        setattr(owner, "__init__", checked(**instead)(vars(owner)["__init__"]))  # noqa: B010
        return owner

    return decorate
