"""The graph of an exported program (.pt2), read as data: what is not an operator on tensors in a known form is refused.

`torch.export.load` turns names of the file into Python text and evaluates its expressions, so it takes --trust. What is
read here is run node by node by `interpreter`. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.exported_reader import DTYPES, read_description
from model_zoo.checkpoints.untrusted_json import parse_json
from model_zoo.utils.errors import UserError
from model_zoo.utils.text import printable
from model_zoo.workbench.explore.operators import CHECKS, NUMBERS, operator_name
from model_zoo.workbench.explore.program_values import (
    CONSTANTS,
    PLAIN,
    RefusedError,
    as_dict,
    as_list,
    is_identifier,
    only,
    plain,
    size_of,
    unflatten,
)
from model_zoo.workbench.explore.subject import Port

#: The major version of the format that is read.
_SCHEMA = 8

#: What an output stands for that is no output of the model: by its kind, the key of what it changes.
_CHANGES = {
    "buffer_mutation": "buffer_name",
    "parameter_mutation": "parameter_name",
    "user_input_mutation": "user_input_name",
}


@dataclass(frozen=True)
class Value:
    """An earlier value of the graph, by its number."""

    number: int


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
    except RefusedError as error:
        raise UserError(
            f"{file} is an exported program with {error}, which is not read as data",
            "give --trust if you trust where it comes from: torch then loads it, and may run code of it",
        ) from error


class _Reader:
    def __init__(self, description: Any) -> None:
        self._program = as_dict(description)
        self._module = as_dict(self._program.get("graph_module"))
        self._graph = as_dict(self._module.get("graph"))
        self._values: dict[str, Value] = {}

    def read(self) -> Description:
        version = as_dict(self._program.get("schema_version")).get("major")
        if version != _SCHEMA:
            raise RefusedError(f"version {printable(str(version))} of the format")
        signature = as_dict(self._module.get("signature"))
        inputs: list[tuple[Port, Value]] = []
        stored: list[Stored] = []
        for spec in as_list(signature.get("input_specs")):
            self._input(spec, inputs, stored)
        names = [port.name for port, _ in inputs]
        if len(set(names)) < len(names):
            raise UnreadableError("two inputs have one name")
        nodes = [node for each in as_list(self._graph.get("nodes")) if (node := self._node(as_dict(each)))]
        flat, changed = self._outputs(as_list(signature.get("output_specs")), stored)
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
        kind, content = only(spec)
        if kind == "constant_input":
            return  # its value stands wherever it is used
        content = as_dict(content)
        argument = as_dict(content.get("arg"))
        if kind == "user_input":
            form, value = only(argument)
            if form in ("as_none", "as_int", "as_float", "as_bool", "as_string"):
                return
            if form != "as_tensor":
                raise RefusedError("an input that is no tensor")
            name = str(as_dict(value).get("name"))
            made = self._new(name)
            inputs.append((self._port(name, len(inputs)), made))
        elif kind in ("parameter", "buffer", "tensor_constant"):
            key = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
            stored.append(Stored(self._new(argument.get("name")), str(content.get(key[kind])), kind == "parameter"))
        else:
            raise RefusedError(f"an input of the kind {printable(kind)}")

    def _port(self, name: str, place: int) -> Port:
        meta = as_dict(as_dict(self._graph.get("tensor_values")).get(name))
        number = meta.get("dtype")
        dtype = DTYPES.get(number, "unknown") if isinstance(number, int) else "unknown"
        shown = name if is_identifier(name) else f"input_{place}"
        return Port(shown, tuple(size_of(size) for size in as_list(meta.get("sizes"))), dtype)

    def _ranges(self) -> dict[str, tuple[int, int | None]]:
        found: dict[str, tuple[int, int | None]] = {}
        for name, limits in as_dict(self._program.get("range_constraints")).items():
            least, most = as_dict(limits).get("min_val"), as_dict(limits).get("max_val")
            # torch takes a least size of 2 for a tracer's own assumption, and runs smaller ones.
            least = least if type(least) is int and least > 2 else 0
            found[name] = (least, most if type(most) is int else None)
        return found

    def _node(self, node: dict[str, Any]) -> Node | None:
        """A call; None for a check of the tracer, which computes nothing."""
        target = str(node.get("target"))
        if target in CHECKS:
            return None
        operator = operator_name(target)
        if operator is None:
            raise RefusedError(f"a call of {printable(target)}")
        arguments: dict[str, Any] = {}
        for place, each in enumerate(as_list(node.get("inputs"))):
            name = str(place) if operator in NUMBERS else as_dict(each).get("name")
            if not isinstance(name, str) or name in arguments:
                raise UnreadableError(f"{operator} has an argument without a name of its own")
            arguments[name] = self._argument(as_dict(each).get("arg"))
        if operator in NUMBERS and not all(isinstance(value, int | float | Value) for value in arguments.values()):
            raise UnreadableError(f"{operator} is given something else than numbers")
        results = [self._result(output) for output in as_list(node.get("outputs"))]
        shown = str(node.get("name"))
        return Node(operator, arguments, results, shown if is_identifier(shown) else operator.split(".")[1])

    def _argument(self, argument: Any) -> Any:
        kind, value = only(argument)
        if kind == "as_none":
            return None
        if kind in PLAIN:
            return plain(value, kind)
        if kind in ("as_tensor", "as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
            return self._reference(argument if kind == "as_tensor" else value)
        if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
            return [self._reference({"as_tensor": each} if kind == "as_tensors" else each) for each in as_list(value)]
        if kind in CONSTANTS:
            return CONSTANTS[kind](value)
        raise RefusedError(f"an argument of the kind {printable(kind)}")

    def _reference(self, argument: Any) -> Any:
        """An earlier value, or what stands in its place."""
        kind, value = only(argument)
        if kind == "as_tensor":
            return self._old(as_dict(value).get("name"))
        if kind == "as_name":
            return self._old(value)
        return None if kind == "as_none" else plain(value, kind)

    def _result(self, output: Any) -> Any:
        kind, value = only(output)
        if kind == "as_tensor":
            return self._new(as_dict(value).get("name"))
        if kind == "as_tensors":
            return [self._new(as_dict(each).get("name")) for each in as_list(value)]
        if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            return self._new(as_dict(value).get("as_name"))
        if kind == "as_none":
            return None
        raise RefusedError(f"a result of the kind {printable(kind)}")

    def _outputs(self, specs: list[Any], stored: list[Stored]) -> tuple[list[Any], list[tuple[Value, Value]]]:
        """What the model gives, and what it keeps for its next run."""
        flat: list[Any] = []
        changed: list[tuple[Value, Value]] = []
        by_name = {each.name: each.value for each in stored}
        for spec in specs:
            kind, content = only(spec)
            argument = as_dict(content).get("arg")
            if kind == "user_output":
                flat.append(self._argument(argument))
                continue
            name = as_dict(content).get(_CHANGES.get(kind, ""))
            if kind not in _CHANGES or not isinstance(name, str):
                raise RefusedError(f"an output of the kind {printable(kind)}")
            target = self._old(name) if kind == "user_input_mutation" else by_name.get(name)
            if target is None:
                raise UnreadableError(f"it changes a tensor that it has not: {printable(name)}")
            changed.append((target, self._old(as_dict(argument).get("name"))))
        return flat, changed

    def _nested(self, flat: list[Any]) -> Any:
        """The outputs in the lists and dictionaries of the model; a plain list where these are of another kind."""
        calls = as_list(self._module.get("module_call_graph"))
        spec = as_dict(as_dict(calls[0]).get("signature")).get("out_spec") if calls else None
        if not isinstance(spec, str):
            return flat
        tree = as_list(parse_json(spec.encode(), "the structure of its outputs", Budget()))
        left = list(reversed(flat))
        try:
            nested = unflatten(as_dict(tree[1]) if len(tree) == 2 else {}, left)
        except (RefusedError, IndexError):
            return flat
        return flat if left else nested
