"""The graph of an exported program (.pt2), read as data: what is not an operator on tensors in a known form is refused.

`torch.export.load` turns names of the file into Python text and evaluates its expressions, so it takes --trust. What is
read here is run node by node by `interpreter`. Imports no torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.exported_reader import DTYPES, read_description
from model_zoo.checkpoints.untrusted_json import parse_json
from model_zoo.utils.errors import UserError
from model_zoo.utils.text import printable
from model_zoo.workbench.explore.loaded_model import ModelInput
from model_zoo.workbench.explore.operators import CHECKS, NUMBERS, operator_name

#: The major version of the format that is read.
_SCHEMA = 8

#: Kinds of outputs that are no outputs of the model, but change a tensor of it.
_CHANGES = ("buffer_mutation", "parameter_mutation", "user_input_mutation")
_STORED = ("parameter", "buffer", "tensor_constant")
_MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
_LAYOUTS = {7: "strided"}
_LONGEST_TEXT = 200
_FLOATS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SYMBOL = re.compile(r"Symbol\('([A-Za-z]\w{0,20})'")

_PLAIN = {"as_bool": bool, "as_int": int, "as_float": float, "as_string": str}
_PLAIN_LISTS = ("as_bools", "as_ints", "as_floats")
_REFERENCES = ("as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool")
#: Names of torch's own constants by their numbers, and what a refusal calls them.
_CONSTANTS: dict[str, tuple[Mapping[int, str], str]] = {
    "as_scalar_type": (DTYPES, "values of the type"),
    "as_memory_format": (_MEMORY_FORMATS, "the memory format"),
    "as_layout": (_LAYOUTS, "tensors of the layout"),
}


@dataclass(frozen=True)
class TorchConstant:
    """A dtype, a memory format or a layout, by its name in torch; or the device, which is "cpu"."""

    name: str


class _RefusedError(Exception):
    """What the graph holds that is not read."""


@dataclass(frozen=True)
class ProgramValue:
    """An earlier value of the graph, by its number."""

    number: int


@dataclass(frozen=True)
class ProgramTensor:
    """A tensor that the graph uses, by its name in the file."""

    value: ProgramValue
    name: str
    is_parameter: bool


@dataclass(frozen=True)
class ProgramNode:
    """A call of an operator.

    Args:
        name: Name for reports.
        operator: "aten.add.Tensor", or the name of arithmetic on sizes.
        arguments: By name of the operator's schema, or in order for arithmetic on sizes.
        results: Values; a list for an operator that gives a list; None for what is not kept.
    """

    name: str
    operator: str
    arguments: dict[str, Any]
    results: list[Any]


@dataclass(frozen=True)
class Description:
    """A graph.

    Args:
        inputs: Inputs in call order.
        ranges: Least and largest size that a named size of an input may have.
        stored: Tensors of the file.
        outputs: Values, nested in lists and dictionaries as the model gives them.
        changed: Pairs of a tensor and the value that it takes at the end of a run.
    """

    inputs: list[tuple[ModelInput, ProgramValue]]
    ranges: dict[str, tuple[int, int | None]]
    stored: list[ProgramTensor]
    nodes: list[ProgramNode]
    outputs: Any
    changed: list[tuple[ProgramValue, ProgramValue]]

    @property
    def model_inputs(self) -> list[ModelInput]:
        """The inputs as a forward pass takes them."""
        return [each for each, _ in self.inputs]


def read_program(file: Path) -> Description:
    """Read the graph of an exported program. Nothing is evaluated; what is no operator on tensors is refused."""
    try:
        return ProgramReader(read_description(file)).read()
    except UnreadableError as error:
        raise UserError(f"{file}: {error}", "copy or save it again") from error
    except _RefusedError as error:
        raise UserError(
            f"{file} is an exported program with {error}, which is not read as data",
            "give --trust if you trust where it comes from: torch then loads it, and may run code of it",
        ) from error


class ProgramReader:
    """Reads a graph off its JSON."""

    def __init__(self, description: Any) -> None:
        self._program = _as_dict(description)
        self._module = _as_dict(self._program.get("graph_module"))
        self._graph = _as_dict(self._module.get("graph"))
        self._values: dict[str, ProgramValue] = {}
        self._inputs: list[tuple[ModelInput, ProgramValue]] = []
        self._stored: list[ProgramTensor] = []

    def read(self) -> Description:
        version = _as_dict(self._program.get("schema_version")).get("major")
        if version != _SCHEMA:
            raise _RefusedError(f"version {printable(str(version))} of the format")
        signature = _as_dict(self._module.get("signature"))
        for spec in _as_list(signature.get("input_specs")):
            self._input(spec)
        if len({each.name for each, _ in self._inputs}) < len(self._inputs):
            raise UnreadableError("two inputs have one name")
        nodes = [node for each in _as_list(self._graph.get("nodes")) if (node := self._node(_as_dict(each)))]
        flat, changed = self._outputs(_as_list(signature.get("output_specs")))
        return Description(self._inputs, self._ranges(), self._stored, nodes, self._nested(flat), changed)

    def _new(self, name: Any) -> ProgramValue:
        if not isinstance(name, str) or name in self._values:
            raise UnreadableError(f"a value of the graph has no name of its own: {printable(str(name))}")
        return self._values.setdefault(name, ProgramValue(len(self._values)))

    def _old(self, name: Any) -> ProgramValue:
        if not isinstance(name, str) or name not in self._values:
            raise UnreadableError(f"a value of the graph is not there when it is used: {printable(str(name))}")
        return self._values[name]

    def _input(self, spec: Any) -> None:
        kind, content = _only(spec)
        argument = _as_dict(_as_dict(content).get("arg"))
        if kind == "user_input":
            form, value = _only(argument)
            if form == "as_tensor":
                name = str(_as_dict(value).get("name"))
                self._inputs.append((self._model_input(name), self._new(name)))
            elif form not in ("as_none", "as_int", "as_float", "as_bool", "as_string"):
                raise _RefusedError("an input that is no tensor")
        elif kind in _STORED:
            name = str(_as_dict(content).get(f"{kind}_name"))
            self._stored.append(ProgramTensor(self._new(argument.get("name")), name, kind == "parameter"))
        elif kind != "constant_input":  # whose value stands wherever it is used
            raise _RefusedError(f"an input of the kind {printable(kind)}")

    def _model_input(self, name: str) -> ModelInput:
        meta = _as_dict(_as_dict(self._graph.get("tensor_values")).get(name))
        number = meta.get("dtype")
        dtype = DTYPES.get(number, "unknown") if isinstance(number, int) else "unknown"
        sizes = tuple(_size_of(size) for size in _as_list(meta.get("sizes")))
        return ModelInput(name if _is_identifier(name) else f"input_{len(self._inputs)}", sizes, dtype)

    def _ranges(self) -> dict[str, tuple[int, int | None]]:
        ranges: dict[str, tuple[int, int | None]] = {}
        for name, limits in _as_dict(self._program.get("range_constraints")).items():
            least, most = _as_dict(limits).get("min_val"), _as_dict(limits).get("max_val")
            # torch takes a least size of 2 for a tracer's own assumption, and runs smaller ones.
            ranges[name] = (least if type(least) is int and least > 2 else 0, most if type(most) is int else None)
        return ranges

    def _node(self, node: dict[str, Any]) -> ProgramNode | None:
        """Read a call; None for a check of the tracer, which computes nothing."""
        target = str(node.get("target"))
        if target in CHECKS:
            return None
        operator = operator_name(target)
        if operator is None:
            raise _RefusedError(f"a call of {printable(target)}")
        on_sizes = operator in NUMBERS
        arguments: dict[str, Any] = {}
        for index, each in enumerate(_as_list(node.get("inputs"))):
            name = str(index) if on_sizes else _as_dict(each).get("name")
            if not isinstance(name, str) or name in arguments:
                raise UnreadableError(f"{operator} has an argument without a name of its own")
            arguments[name] = self._argument(_as_dict(each).get("arg"))
        if on_sizes and not all(isinstance(value, int | float | ProgramValue) for value in arguments.values()):
            raise UnreadableError(f"{operator} is given something else than numbers")
        results = [self._result(output) for output in _as_list(node.get("outputs"))]
        name = str(node.get("name"))
        return ProgramNode(name if _is_identifier(name) else operator.split(".")[1], operator, arguments, results)

    def _argument(self, argument: Any) -> Any:
        kind, value = _only(argument)
        if kind == "as_none":
            return None
        if kind in _PLAIN or kind in _PLAIN_LISTS:
            return _plain(value, kind)
        if kind == "as_tensor" or kind in _REFERENCES:
            return self._reference(argument if kind == "as_tensor" else value)
        if kind == "as_tensors" or kind.removesuffix("s") in _REFERENCES:
            return [self._reference({"as_tensor": each} if kind == "as_tensors" else each) for each in _as_list(value)]
        if kind in _CONSTANTS or kind == "as_device":
            return _constant(value, kind)
        raise _RefusedError(f"an argument of the kind {printable(kind)}")

    def _reference(self, argument: Any) -> Any:
        """Find an earlier value, or what stands for one."""
        kind, value = _only(argument)
        if kind in ("as_tensor", "as_name"):
            return self._old(_as_dict(value).get("name") if kind == "as_tensor" else value)
        return None if kind == "as_none" else _plain(value, kind)

    def _result(self, output: Any) -> Any:
        kind, value = _only(output)
        if kind == "as_none":
            return None
        if kind == "as_tensors":
            return [self._new(_as_dict(each).get("name")) for each in _as_list(value)]
        if kind == "as_tensor" or kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            return self._new(_as_dict(value).get("name" if kind == "as_tensor" else "as_name"))
        raise _RefusedError(f"a result of the kind {printable(kind)}")

    def _outputs(self, specs: list[Any]) -> tuple[list[Any], list[tuple[ProgramValue, ProgramValue]]]:
        """What the model gives, and what it keeps for its next run."""
        flat: list[Any] = []
        changed: list[tuple[ProgramValue, ProgramValue]] = []
        by_name = {each.name: each.value for each in self._stored}
        for spec in specs:
            kind, content = _only(spec)
            argument = _as_dict(content).get("arg")
            if kind == "user_output":
                flat.append(self._argument(argument))
                continue
            name = _as_dict(content).get(f"{kind.removesuffix('_mutation')}_name")
            if kind not in _CHANGES or not isinstance(name, str):
                raise _RefusedError(f"an output of the kind {printable(kind)}")
            target = self._old(name) if kind == "user_input_mutation" else by_name.get(name)
            if target is None:
                raise UnreadableError(f"it changes a tensor that it has not: {printable(name)}")
            changed.append((target, self._old(_as_dict(argument).get("name"))))
        return flat, changed

    def _nested(self, flat: list[Any]) -> Any:
        """The outputs in the lists and dictionaries of the model; a plain list where these are of another kind."""
        calls = _as_list(self._module.get("module_call_graph"))
        spec = _as_dict(_as_dict(calls[0]).get("signature")).get("out_spec") if calls else None
        if not isinstance(spec, str):
            return flat
        tree = _as_list(parse_json(spec.encode(), "the structure of its outputs", Budget()))
        left = list(reversed(flat))
        try:
            nested = _unflatten(_as_dict(tree[1]) if len(tree) == 2 else {}, left)
        except (_RefusedError, IndexError):
            return flat
        return flat if left else nested


def _plain(value: Any, kind: str) -> Any:
    """Check a plain argument, or a list of them."""
    if kind in _PLAIN_LISTS:
        return [_plain(each, kind.removesuffix("s")) for each in _as_list(value)]
    if kind == "as_float":
        value = _FLOATS.get(value, value) if isinstance(value, str) else value
        value = float(value) if type(value) is int else value
    if type(value) is not _PLAIN.get(kind) or len(str(value)) > _LONGEST_TEXT:
        raise UnreadableError(f"an argument of the kind {printable(kind)} is {printable(repr(value))}")
    return value


def _constant(value: Any, kind: str) -> TorchConstant:
    """Read one of torch's own constants."""
    if kind == "as_device":
        if (device := _as_dict(value).get("type")) != "cpu":
            raise _RefusedError(f"tensors on the device {printable(str(device))}")
        return TorchConstant("cpu")
    names, what = _CONSTANTS[kind]
    if type(value) is not int or value not in names:
        raise _RefusedError(f"{what} {printable(str(value))}")
    return TorchConstant(names[value])


def _unflatten(spec: Mapping[str, Any], left: list[Any]) -> Any:
    """Take as many of the values that are left as a structure holds."""
    children, kind = _as_list(spec.get("children_spec")), spec.get("type")
    if kind is None:
        return left.pop()
    if kind in ("builtins.list", "builtins.tuple"):
        return [_unflatten(_as_dict(child), left) for child in children]
    if kind not in ("builtins.dict", "collections.OrderedDict"):
        raise _RefusedError("outputs of another kind")
    keys = _as_list(json.loads(str(spec.get("context"))))
    if len(keys) != len(children):
        raise UnreadableError("the structure of its outputs is damaged")
    named = [key if _is_identifier(key) or type(key) is int else index for index, key in enumerate(keys)]
    return {key: _unflatten(_as_dict(child), left) for key, child in zip(named, children, strict=True)}


def _size_of(size: Any) -> int | str:
    """Read a number, or the symbol of a size that may vary."""
    kind, value = _only(size)
    if kind == "as_int" and type(value) is int and value >= 0:
        return value
    symbol = _SYMBOL.match(str(_as_dict(value).get("expr_str")))
    if symbol is None:
        raise _RefusedError("an input whose size follows from others")
    return symbol[1]


def _only(union: Any) -> tuple[str, Any]:
    """Return kind and value of what may be one of several."""
    if not isinstance(union, dict) or len(union) != 1:
        raise UnreadableError("a part of the graph is of no kind")
    ((kind, value),) = union.items()
    return kind, value


def _is_identifier(name: Any) -> bool:
    return isinstance(name, str) and _IDENTIFIER.fullmatch(name) is not None


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
