"""Single values in the JSON of an exported program: arguments, sizes and the structure of outputs. Imports no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model_zoo.checkpoints.budget import UnreadableError
from model_zoo.checkpoints.exported_reader import DTYPES
from model_zoo.utils.text import printable

_MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
_STRIDED = 7
_LONGEST_TEXT = 200
_FLOATS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SYMBOL = re.compile(r"Symbol\('([A-Za-z]\w{0,20})'")


@dataclass(frozen=True)
class Constant:
    """Something of torch's own: a dtype, a memory format or a device.

    Args:
        kind: "dtype", "memory_format", "layout" or "device".
    """

    kind: str
    name: str


class RefusedError(Exception):
    """What the graph holds that is not read."""


#: Python types of plain arguments; True: a list of them.
PLAIN: dict[str, tuple[type, bool]] = {
    "as_bool": (bool, False),
    "as_bools": (bool, True),
    "as_int": (int, False),
    "as_ints": (int, True),
    "as_float": (float, False),
    "as_floats": (float, True),
    "as_string": (str, False),
}


def plain(value: Any, kind: str) -> Any:
    type_, several = PLAIN.get(kind, (str, False))
    if several:
        return [plain(each, kind.removesuffix("s")) for each in as_list(value)]
    if type_ is float:
        value = _FLOATS.get(value, value) if isinstance(value, str) else value
        value = float(value) if type(value) is int else value
    if kind not in PLAIN or type(value) is not type_ or len(str(value)) > _LONGEST_TEXT:
        raise UnreadableError(f"an argument of the kind {printable(kind)} is {printable(repr(value))}")
    return value


def _dtype(value: Any) -> Constant:
    if type(value) is not int or value not in DTYPES:
        raise RefusedError(f"values of the type {printable(str(value))}")
    return Constant("dtype", DTYPES[value])


def _memory_format(value: Any) -> Constant:
    if type(value) is not int or value not in _MEMORY_FORMATS:
        raise RefusedError(f"the memory format {printable(str(value))}")
    return Constant("memory_format", _MEMORY_FORMATS[value])


def _layout(value: Any) -> Constant:
    if value != _STRIDED:
        raise RefusedError(f"tensors of the layout {printable(str(value))}")
    return Constant("layout", "strided")


def _device(value: Any) -> Constant:
    if as_dict(value).get("type") != "cpu":
        raise RefusedError(f"tensors on the device {printable(str(as_dict(value).get('type')))}")
    return Constant("device", "cpu")


CONSTANTS: dict[str, Callable[[Any], Constant]] = {
    "as_scalar_type": _dtype,
    "as_memory_format": _memory_format,
    "as_layout": _layout,
    "as_device": _device,
}


def unflatten(spec: Mapping[str, Any], left: list[Any]) -> Any:
    """Take as many of the values that are left as a structure holds."""
    children, kind = as_list(spec.get("children_spec")), spec.get("type")
    if kind is None:
        return left.pop()
    if kind in ("builtins.list", "builtins.tuple"):
        return [unflatten(as_dict(child), left) for child in children]
    if kind not in ("builtins.dict", "collections.OrderedDict"):
        raise RefusedError("outputs of another kind")
    keys = as_list(json.loads(str(spec.get("context"))))
    if len(keys) != len(children):
        raise UnreadableError("the structure of its outputs is damaged")
    named = [key if is_identifier(key) or type(key) is int else place for place, key in enumerate(keys)]
    return {key: unflatten(as_dict(child), left) for key, child in zip(named, children, strict=True)}


def size_of(size: Any) -> int | str:
    """A number, or the symbol of a size that may vary."""
    kind, value = only(size)
    if kind == "as_int" and type(value) is int and value >= 0:
        return value
    symbol = _SYMBOL.match(str(as_dict(value).get("expr_str")))
    if symbol is None:
        raise RefusedError("an input whose size follows from others")
    return symbol[1]


def only(union: Any) -> tuple[str, Any]:
    """Kind and value of what may be one of several."""
    if not isinstance(union, dict) or len(union) != 1:
        raise UnreadableError("a part of the graph is of no kind")
    ((kind, value),) = union.items()
    return kind, value


def is_identifier(name: Any) -> bool:
    return isinstance(name, str) and _IDENTIFIER.fullmatch(name) is not None


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
