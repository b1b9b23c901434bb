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
from model_zoo.workbench.explore.loaded_model import ModelInput
from model_zoo.workbench.explore.operators import CHECKS, NUMBERS, operator_name
from model_zoo.workbench.explore.program_values import (
    CONSTANTS,
    PLAIN,
    RefusedError,
    as_dict,
    as_list,
    constant,
    is_identifier,
    only,
    plain,
    size_of,
    unflatten,
)

#: The major version of the format that is read.
_SCHEMA = 8

#: Kinds of outputs that are no outputs of the model, but change a tensor of it.
_CHANGES = ("buffer_mutation", "parameter_mutation", "user_input_mutation")
_STORED = ("parameter", "buffer", "tensor_constant")


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
    """Read the graph of an exported program. Nothing of it is evaluated, imported or looked up.

    Raises:
        UserError: The file is damaged, or holds something else than operators on tensors; says what.
    """
    try:
        return ProgramReader(read_description(file)).read()
    except UnreadableError as error:
        raise UserError(f"{file}: {error}", "copy or save it again") from error
    except RefusedError as error:
        raise UserError(
            f"{file} is an exported program with {error}, which is not read as data",
            "give --trust if you trust where it comes from: torch then loads it, and may run code of it",
        ) from error


class ProgramReader:
    def __init__(self, description: Any) -> None:
        self._program = as_dict(description)
        self._module = as_dict(self._program.get("graph_module"))
        self._graph = as_dict(self._module.get("graph"))
        self._values: dict[str, ProgramValue] = {}

    def read(self) -> Description:
        version = as_dict(self._program.get("schema_version")).get("major")
        if version != _SCHEMA:
            raise RefusedError(f"version {printable(str(version))} of the format")
        signature = as_dict(self._module.get("signature"))
        inputs: list[tuple[ModelInput, ProgramValue]] = []
        stored: list[ProgramTensor] = []
        for spec in as_list(signature.get("input_specs")):
            self._input(spec, inputs, stored)
        names = [each.name for each, _ in inputs]
        if len(set(names)) < len(names):
            raise UnreadableError("two inputs have one name")
        nodes = [node for each in as_list(self._graph.get("nodes")) if (node := self._node(as_dict(each)))]
        flat, changed = self._outputs(as_list(signature.get("output_specs")), stored)
        return Description(inputs, self._ranges(), stored, nodes, self._nested(flat), changed)

    def _new(self, name: Any) -> ProgramValue:
        if not isinstance(name, str) or name in self._values:
            raise UnreadableError(f"a value of the graph has no name of its own: {printable(str(name))}")
        return self._values.setdefault(name, ProgramValue(len(self._values)))

    def _old(self, name: Any) -> ProgramValue:
        if not isinstance(name, str) or name not in self._values:
            raise UnreadableError(f"a value of the graph is not there when it is used: {printable(str(name))}")
        return self._values[name]

    def _input(self, spec: Any, inputs: list[tuple[ModelInput, ProgramValue]], stored: list[ProgramTensor]) -> None:
        kind, content = only(spec)
        argument = as_dict(as_dict(content).get("arg"))
        if kind == "user_input":
            form, value = only(argument)
            if form == "as_tensor":
                name = str(as_dict(value).get("name"))
                inputs.append((self._model_input(name, len(inputs)), self._new(name)))
            elif form not in ("as_none", "as_int", "as_float", "as_bool", "as_string"):
                raise RefusedError("an input that is no tensor")
        elif kind in _STORED:
            name = str(as_dict(content).get(f"{kind}_name"))
            stored.append(ProgramTensor(self._new(argument.get("name")), name, kind == "parameter"))
        elif kind != "constant_input":  # whose value stands wherever it is used
            raise RefusedError(f"an input of the kind {printable(kind)}")

    def _model_input(self, name: str, index: int) -> ModelInput:
        meta = as_dict(as_dict(self._graph.get("tensor_values")).get(name))
        number = meta.get("dtype")
        dtype = DTYPES.get(number, "unknown") if isinstance(number, int) else "unknown"
        sizes = tuple(size_of(size) for size in as_list(meta.get("sizes")))
        return ModelInput(name if is_identifier(name) else f"input_{index}", sizes, dtype)

    def _ranges(self) -> dict[str, tuple[int, int | None]]:
        ranges: dict[str, tuple[int, int | None]] = {}
        for name, limits in as_dict(self._program.get("range_constraints")).items():
            least, most = as_dict(limits).get("min_val"), as_dict(limits).get("max_val")
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
            raise RefusedError(f"a call of {printable(target)}")
        on_sizes = operator in NUMBERS
        arguments: dict[str, Any] = {}
        for index, each in enumerate(as_list(node.get("inputs"))):
            name = str(index) if on_sizes else as_dict(each).get("name")
            if not isinstance(name, str) or name in arguments:
                raise UnreadableError(f"{operator} has an argument without a name of its own")
            arguments[name] = self._argument(as_dict(each).get("arg"))
        if on_sizes and not all(isinstance(value, int | float | ProgramValue) for value in arguments.values()):
            raise UnreadableError(f"{operator} is given something else than numbers")
        results = [self._result(output) for output in as_list(node.get("outputs"))]
        name = str(node.get("name"))
        return ProgramNode(name if is_identifier(name) else operator.split(".")[1], operator, arguments, results)

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
        if kind in CONSTANTS or kind == "as_device":
            return constant(value, kind)
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

    def _outputs(
        self, specs: list[Any], stored: list[ProgramTensor]
    ) -> tuple[list[Any], list[tuple[ProgramValue, ProgramValue]]]:
        """What the model gives, and what it keeps for its next run."""
        flat: list[Any] = []
        changed: list[tuple[ProgramValue, ProgramValue]] = []
        by_name = {each.name: each.value for each in stored}
        for spec in specs:
            kind, content = only(spec)
            argument = as_dict(content).get("arg")
            if kind == "user_output":
                flat.append(self._argument(argument))
                continue
            name = as_dict(content).get(f"{kind.removesuffix('_mutation')}_name")
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
