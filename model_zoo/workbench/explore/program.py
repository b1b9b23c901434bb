"""The graph of an exported program (.pt2), read as data: what is not an operator on tensors in a known form is refused.

`torch.export.load` turns names of the file into Python text and evaluates its expressions, so it takes --trust. What is
read here is run node by node by `interpreter`. Imports no torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.exported_program import DTYPES, read_description
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.places import UnreadableError
from model_zoo.checkpoints.untrusted_json import parse_json
from model_zoo.utils.errors import UserError
from model_zoo.workbench.explore.operators import CHECKS, NUMBERS, operator_name
from model_zoo.workbench.explore.subject import Port

#: The version of the format that is read; torch writes it since 2.5.
_SCHEMA = 8
_MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
_STRIDED = 7
_LONGEST_TEXT = 200
_FLOATS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SYMBOL = re.compile(r"Symbol\('([A-Za-z]\w{0,20})'")


@dataclass(frozen=True)
class Value:
    """An earlier value of the graph, by its number."""

    number: int


@dataclass(frozen=True)
class Constant:
    """Something of torch's own: a dtype, a memory format or a device.

    Args:
        kind: "dtype", "memory_format", "layout" or "device".
    """

    kind: str
    name: str


@dataclass(frozen=True)
class Stored:
    """A tensor of the file that the graph uses.

    Args:
        name: In the file.
        is_parameter: Whether it is trained.
    """

    value: Value
    name: str
    is_parameter: bool


@dataclass(frozen=True)
class Node:
    """A call of an operator.

    Args:
        operator: "aten.add.Tensor", or the name of arithmetic on sizes.
        arguments: By name of the operator's schema, or in order for arithmetic on sizes.
        results: Numbers of values; a list for an operator that gives a list; None for what is not kept.
        shown: What reports call it.
    """

    operator: str
    arguments: dict[str, Any]
    results: list[Any]
    shown: str


@dataclass(frozen=True)
class Description:
    """A graph.

    Args:
        inputs: In call order.
        ranges: Least and largest size that a named size of an input may have.
        outputs: Values, nested in lists and dictionaries as the model gives them.
        changed: Stored tensors that take the value of another at the end of a run.
    """

    inputs: list[tuple[Port, Value]]
    ranges: dict[str, tuple[int, int | None]]
    stored: list[Stored]
    nodes: list[Node]
    outputs: Any
    changed: list[tuple[Value, Value]]

    @property
    def ports(self) -> list[Port]:
        """The inputs as a forward pass takes them."""
        return [port for port, _ in self.inputs]


def read_program(file: Path) -> Description:
    """Read the graph of an exported program. Nothing of it is evaluated, imported or looked up.

    Raises:
        UserError: The file is damaged, or holds something else than operators on tensors; says what.
    """
    try:
        return _Reader(read_description(file)).read()
    except UnreadableError as error:
        raise UserError(f"{file}: {error}", "copy or save it again") from error
    except _RefusedError as error:
        raise UserError(
            f"{file} is an exported program with {error}, which is not read as data",
            "give --trust if you trust where it comes from: torch then loads it, and may run code of it",
        ) from error


class _RefusedError(Exception):
    """What the graph holds that is not read."""


class _Reader:
    def __init__(self, description: Any) -> None:
        self._program = _dict(description)
        self._module = _dict(self._program.get("graph_module"))
        self._graph = _dict(self._module.get("graph"))
        self._values: dict[str, Value] = {}

    def read(self) -> Description:
        version = _dict(self._program.get("schema_version")).get("major")
        if version != _SCHEMA:
            raise _RefusedError(f"version {printable(str(version))} of the format")
        signature = _dict(self._module.get("signature"))
        inputs: list[tuple[Port, Value]] = []
        stored: list[Stored] = []
        for spec in _list(signature.get("input_specs")):
            self._input(spec, inputs, stored)
        names = [port.name for port, _ in inputs]
        if len(set(names)) < len(names):
            raise UnreadableError("two inputs have one name")
        nodes = [node for each in _list(self._graph.get("nodes")) if (node := self._node(_dict(each)))]
        flat, changed = self._outputs(_list(signature.get("output_specs")), inputs, stored)
        return Description(inputs, self._ranges(), stored, nodes, self._nested(flat), changed)

    def _new(self, name: Any) -> Value:
        if not isinstance(name, str) or name in self._values:
            raise UnreadableError(f"a value of the graph has no name of its own: {printable(str(name))}")
        return self._values.setdefault(name, Value(len(self._values)))

    def _old(self, name: Any) -> Value:
        if not isinstance(name, str) or name not in self._values:
            raise UnreadableError(f"a value of the graph is not there when it is used: {printable(str(name))}")
        return self._values[name]

    def _input(self, spec: Any, inputs: list[tuple[Port, Value]], stored: list[Stored]) -> None:
        kind, content = _only(spec)
        if kind == "constant_input":
            return  # its value stands wherever it is used
        argument = _dict(_dict(content).get("arg"))
        if kind == "user_input":
            form, value = _only(argument)
            if form in ("as_none", "as_int", "as_float", "as_bool", "as_string"):
                return
            if form != "as_tensor":
                raise _RefusedError("an input that is no tensor")
            name = _dict(value).get("name")
            inputs.append((self._port(name, len(inputs)), self._new(name)))
        elif kind in ("parameter", "buffer", "tensor_constant"):
            key = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
            stored.append(Stored(self._new(argument.get("name")), str(content.get(key[kind])), kind == "parameter"))
        else:
            raise _RefusedError(f"an input of the kind {printable(kind)}")

    def _port(self, name: Any, place: int) -> Port:
        meta = _dict(_dict(self._graph.get("tensor_values")).get(name))
        dtype = DTYPES.get(meta.get("dtype", 0), "unknown")
        shown = name if _is_identifier(name) else f"input_{place}"
        return Port(shown, tuple(_size(size) for size in _list(meta.get("sizes"))), dtype)

    def _ranges(self) -> dict[str, tuple[int, int | None]]:
        found: dict[str, tuple[int, int | None]] = {}
        for name, limits in _dict(self._program.get("range_constraints")).items():
            least, most = _dict(limits).get("min_val"), _dict(limits).get("max_val")
            # torch takes a least size of 2 for a tracer's own assumption, and runs smaller ones.
            least = least if type(least) is int and least > 2 else 0
            found[name] = (least, most if type(most) is int else None)
        return found

    def _node(self, node: dict[str, Any]) -> Node | None:
        """A call; None for a check of the tracer, which computes nothing."""
        target = node.get("target")
        if target in CHECKS:
            return None
        operator = operator_name(target)
        if operator is None:
            raise _RefusedError(f"a call of {printable(str(target))}")
        arguments: dict[str, Any] = {}
        for place, each in enumerate(_list(node.get("inputs"))):
            name = str(place) if operator in NUMBERS else _dict(each).get("name")
            if not isinstance(name, str) or name in arguments:
                raise UnreadableError(f"{operator} has an argument without a name of its own")
            arguments[name] = self._argument(_dict(each).get("arg"))
        if operator in NUMBERS and not all(isinstance(value, int | float | Value) for value in arguments.values()):
            raise UnreadableError(f"{operator} is given something else than numbers")
        results = [self._result(output) for output in _list(node.get("outputs"))]
        shown = str(node.get("name"))
        return Node(operator, arguments, results, shown if _is_identifier(shown) else operator.split(".")[1])

    def _argument(self, argument: Any) -> Any:
        kind, value = _only(argument)
        if kind == "as_none":
            return None
        if kind in _PLAIN:
            return _plain(value, kind)
        if kind in ("as_tensor", "as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
            return self._reference(argument if kind == "as_tensor" else value)
        if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
            return [self._reference({"as_tensor": each} if kind == "as_tensors" else each) for each in _list(value)]
        if kind in _CONSTANTS:
            return _CONSTANTS[kind](value)
        raise _RefusedError(f"an argument of the kind {printable(kind)}")

    def _reference(self, argument: Any) -> Any:
        """An earlier value, or what stands in its place."""
        kind, value = _only(argument)
        if kind == "as_tensor":
            return self._old(_dict(value).get("name"))
        if kind == "as_name":
            return self._old(value)
        return None if kind == "as_none" else _plain(value, kind)

    def _result(self, output: Any) -> Any:
        kind, value = _only(output)
        if kind == "as_tensor":
            return self._new(_dict(value).get("name"))
        if kind == "as_tensors":
            return [self._new(_dict(each).get("name")) for each in _list(value)]
        if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            return self._new(_dict(value).get("as_name"))
        if kind == "as_none":
            return None
        raise _RefusedError(f"a result of the kind {printable(kind)}")

    def _outputs(
        self, specs: list[Any], inputs: list[tuple[Port, Value]], stored: list[Stored]
    ) -> tuple[list[Any], list[tuple[Value, Value]]]:
        """What the model gives, and what it keeps for its next run."""
        flat: list[Any] = []
        changed: list[tuple[Value, Value]] = []
        by_name = {each.name: each.value for each in stored}
        for spec in specs:
            kind, content = _only(spec)
            argument = _dict(content).get("arg")
            if kind == "user_output":
                flat.append(self._argument(argument))
                continue
            name = _dict(content).get(_CHANGES.get(kind, ""))
            if kind not in _CHANGES or not isinstance(name, str):
                raise _RefusedError(f"an output of the kind {printable(kind)}")
            target = self._old(name) if kind == "user_input_mutation" else by_name.get(name)
            if target is None:
                raise UnreadableError(f"it changes a tensor that it has not: {printable(name)}")
            changed.append((target, self._old(_dict(argument).get("name"))))
        return flat, changed

    def _nested(self, flat: list[Any]) -> Any:
        """The outputs in the lists and dictionaries of the model; a plain list where these are of another kind."""
        calls = _list(self._module.get("module_call_graph"))
        spec = _dict(_dict(calls[0]).get("signature")).get("out_spec") if calls else None
        if not isinstance(spec, str):
            return flat
        tree = _list(parse_json(spec.encode(), "the structure of its outputs"))
        left = list(reversed(flat))
        try:
            nested = _unflatten(_dict(tree[1]) if len(tree) == 2 else {}, left)
        except (_RefusedError, IndexError):
            return flat
        return flat if left else nested


#: What an output stands for that is no output of the model: by its kind, the key of what it changes.
_CHANGES = {
    "buffer_mutation": "buffer_name",
    "parameter_mutation": "parameter_name",
    "user_input_mutation": "user_input_name",
}
#: Python types of plain arguments; True: a list of them.
_PLAIN: dict[str, tuple[type, bool]] = {
    "as_bool": (bool, False),
    "as_bools": (bool, True),
    "as_int": (int, False),
    "as_ints": (int, True),
    "as_float": (float, False),
    "as_floats": (float, True),
    "as_string": (str, False),
}


def _plain(value: Any, kind: str) -> Any:
    type_, several = _PLAIN.get(kind, (str, False))
    if several:
        return [_plain(each, kind.removesuffix("s")) for each in _list(value)]
    if type_ is float:
        value = _FLOATS.get(value, value) if isinstance(value, str) else value
        value = float(value) if type(value) is int else value
    if kind not in _PLAIN or type(value) is not type_ or len(str(value)) > _LONGEST_TEXT:
        raise UnreadableError(f"an argument of the kind {printable(kind)} is {printable(repr(value))}")
    return value


def _dtype(value: Any) -> Constant:
    if type(value) is not int or value not in DTYPES:
        raise _RefusedError(f"values of the type {printable(str(value))}")
    return Constant("dtype", DTYPES[value])


def _memory_format(value: Any) -> Constant:
    if type(value) is not int or value not in _MEMORY_FORMATS:
        raise _RefusedError(f"the memory format {printable(str(value))}")
    return Constant("memory_format", _MEMORY_FORMATS[value])


def _layout(value: Any) -> Constant:
    if value != _STRIDED:
        raise _RefusedError(f"tensors of the layout {printable(str(value))}")
    return Constant("layout", "strided")


def _device(value: Any) -> Constant:
    if _dict(value).get("type") != "cpu":
        raise _RefusedError(f"tensors on the device {printable(str(_dict(value).get('type')))}")
    return Constant("device", "cpu")


_CONSTANTS: dict[str, Callable[[Any], Constant]] = {
    "as_scalar_type": _dtype,
    "as_memory_format": _memory_format,
    "as_layout": _layout,
    "as_device": _device,
}


def _unflatten(spec: Mapping[str, Any], left: list[Any]) -> Any:
    """Take as many of the values that are left as a structure holds."""
    children, kind = _list(spec.get("children_spec")), spec.get("type")
    if kind is None:
        return left.pop()
    if kind in ("builtins.list", "builtins.tuple"):
        return [_unflatten(_dict(child), left) for child in children]
    if kind not in ("builtins.dict", "collections.OrderedDict"):
        raise _RefusedError("outputs of another kind")
    keys = _list(json.loads(str(spec.get("context"))))
    if len(keys) != len(children):
        raise UnreadableError("the structure of its outputs is damaged")
    named = [key if _is_identifier(key) or type(key) is int else place for place, key in enumerate(keys)]
    return {key: _unflatten(_dict(child), left) for key, child in zip(named, children, strict=True)}


def _size(size: Any) -> int | str:
    """A number, or the symbol of a size that may vary."""
    kind, value = _only(size)
    if kind == "as_int" and type(value) is int and value >= 0:
        return value
    symbol = _SYMBOL.match(str(_dict(value).get("expr_str")))
    if symbol is None:
        raise _RefusedError("an input whose size follows from others")
    return symbol[1]


def _only(union: Any) -> tuple[str, Any]:
    """Kind and value of what may be one of several."""
    if not isinstance(union, dict) or len(union) != 1:
        raise UnreadableError("a part of the graph is of no kind")
    ((kind, value),) = union.items()
    return kind, value


def _is_identifier(name: Any) -> bool:
    return isinstance(name, str) and _IDENTIFIER.fullmatch(name) is not None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
