"""Command line flags from a function's signature, and their help from its docstring."""

from __future__ import annotations

import argparse
import inspect
import re
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pydantic

from model_zoo.utils.errors import ModelZooError

Value = str | int | float | bool | Path | None

_TYPES: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float, "bool": bool, "path": Path}
_NAMES = {python_type: name for name, python_type in _TYPES.items()}


@dataclass(frozen=True)
class Flag:
    """One argument of a function, as a command line flag. The type is `str`, `int`, `float`, `bool` or `path`."""

    name: str
    type: str
    default: Value
    help: str = ""
    choices: tuple[str | int, ...] | None = None

    def __post_init__(self) -> None:
        if self.type == "path" and isinstance(self.default, str):  # as JSON has it
            object.__setattr__(self, "default", Path(self.default))

    @property
    def option(self) -> str:
        """As written on the command line, e.g. `--batch-size`."""
        return "--" + self.name.replace("_", "-")


#: Flags as plain JSON values, with `dump_python(flags, mode="json")`, and back.
JSON_FLAGS = pydantic.TypeAdapter(list[Flag])


def signature_flags(function: Callable[..., object], owner: type | None = None) -> list[Flag]:
    """One flag for each argument: typed str, int, float, bool, Path, a Literal, or one of these `| None`.

    Args:
        owner: Class whose bases describe arguments that the docstring leaves out; that of a class method if None.

    Raises:
        ModelZooError: An argument has no type, no default, or a type that cannot be written on a command line.
    """
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except NameError as error:
        raise ModelZooError(f"{_where(function)}: the type '{error.name}' is not known at run time") from error
    helps = _argument_helps(function, owner)
    return [_flag(function, parameter, helps.get(name, "")) for name, parameter in parameters.items()]


def add_flags(parser: argparse._ActionsContainer, flags: Iterable[Flag], sizes: bool = False) -> None:
    """Add flags to a parser or an argument group: `--height 640`, `--postprocessing` and `--no-postprocessing`.

    Integers of at least 1 are wanted if they are `sizes`.
    """
    parse = {**_TYPES, "int": _size} if sizes else _TYPES
    for flag in flags:
        text = flag.help.replace("%", "%%")
        settings: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if flag.type != "bool":
            text = text if flag.default is None else f"{text} (default: %(default)s)".strip()
            settings = {"type": parse[flag.type], "choices": flag.choices}
        parser.add_argument(flag.option, dest=flag.name, default=flag.default, help=text, **settings)


def _size(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no positive integer")
    return int(text)


def _flag(function: Callable[..., object], parameter: inspect.Parameter, text: str) -> Flag:
    where = f"{_where(function)}: argument '{parameter.name}'"
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ModelZooError(f"{where} stands for any number of arguments, which has no flag")
    if parameter.annotation is parameter.empty:
        raise ModelZooError(f"{where} has no type")
    if parameter.default is parameter.empty:
        raise ModelZooError(f"{where} has no default")
    annotation = parameter.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not types.NoneType]
        annotation = options[0] if len(options) == 1 else annotation
    choices = get_args(annotation) if get_origin(annotation) is Literal else None
    kind = type(choices[0]) if choices else annotation
    if kind not in _NAMES or (choices and {type(choice) for choice in choices} not in ({str}, {int})):
        raise ModelZooError(f"{where}: no flag can hold the type {parameter.annotation}")
    return Flag(parameter.name, _NAMES[kind], parameter.default, text, choices)


def _argument_helps(function: Callable[..., object], owner: type | None) -> dict[str, str]:
    """Help by argument: what the nearest class in the method resolution order says."""
    bound_to = getattr(function, "__self__", None)
    classes = (owner or (bound_to if isinstance(bound_to, type) else object)).__mro__
    name = getattr(function, "__name__", "")
    documents = [function.__doc__, *(getattr(base.__dict__.get(name), "__doc__", None) for base in classes)]
    return {key: text for document in reversed(documents) for key, text in _documented(document or "").items()}


def _documented(docstring: str) -> dict[str, str]:
    """The `Args:` section of a Google style docstring: text by name, each on one line."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    lines = inspect.cleandoc("\n" + section[1]) if section else ""
    entries = re.findall(r"^\*{0,2}(\w+)(?: \(.*?\))?:(.*(?:\n(?: .*)?$)*)", lines, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _where(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
