"""Runs the graph of an exported program, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.text import printable
from model_zoo.workbench.explore.kernel_checks import Check, check_for
from model_zoo.workbench.explore.operators import NUMBERS
from model_zoo.workbench.explore.program import Description, Node, Value
from model_zoo.workbench.explore.program_values import Constant

#: Python types of the arguments of an operator, by the type that its schema names.
_TYPES: dict[str, tuple[type, ...]] = {
    "Tensor": (Value, int, float),  # torch makes tensors of numbers
    "int": (int, Value),
    "float": (int, float, Value),
    "number": (int, float, Value),
    "bool": (bool,),
    "str": (str,),
    "ScalarType": (torch.dtype,),
    "Layout": (torch.layout,),
    "MemoryFormat": (torch.memory_format,),
    "Device": (Value,),
}
#: Stands for the device that the inputs are on.
_DEVICE = Value(-1)


@dataclass(frozen=True)
class Label:
    """A step of a graph as reports show it.

    Args:
        place: In the graph.
        kind: The operator.
        stored: Names of the module's tensors that it takes.
    """

    place: int
    name: str
    kind: str
    stored: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A call of an operator, ready to be made.

    Args:
        results: As those of `Node`.
        finished: Numbers of values that no later step uses.
        check: Whether the arguments belong together, where torch does not see to that.
        names: Of the arguments.
    """

    label: Label
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Any]
    finished: tuple[int, ...]
    check: Check | None
    names: tuple[str, ...]


#: Makes the call of a step, and may look at it.
Watch = Callable[[Label, Callable[[], Any]], Any]


class Program(torch.nn.Module):
    """An exported program. Its tensors have names that are made here, and no text of it becomes code.

    Args:
        description: As `read_program` gives it.
        tensors: Those of the file, by name.

    Raises:
        ModelZooError: A tensor is missing, or an operator is not called as its schema says.
    """

    def __init__(self, description: Description, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._description = description
        self._stored = {stored.value.number: f"p{place}" for place, stored in enumerate(description.stored)}
        self._keep(tensors)
        finished = _last_uses(description)
        self._steps = [
            _step(place, node, self._stored, finished[place]) for place, node in enumerate(description.nodes)
        ]

    def _keep(self, tensors: Mapping[str, torch.Tensor]) -> None:
        kept: dict[Any, torch.nn.Parameter] = {}
        for stored in self._description.stored:
            name, tensor = self._stored[stored.value.number], tensors.get(stored.name)
            if tensor is None:
                raise ModelZooError(f"the program has no plain tensor {printable(stored.name)} in its file")
            if stored.is_parameter:  # tied weights stay one
                window = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
                parameter = kept.setdefault(window, torch.nn.Parameter(tensor, requires_grad=False))
                self.register_parameter(name, parameter)
            else:
                self.register_buffer(name, tensor)

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Run all steps.

        Raises:
            ModelZooError: An input has another shape or type than the program declares.
        """
        return self.run(tensors, lambda label, call: call())

    def run(self, tensors: Sequence[torch.Tensor], watch: Watch) -> Any:
        """The same, with somebody to look at each step."""
        check_inputs(self._description, tensors)
        values: dict[int, Any] = {number: getattr(self, name) for number, name in self._stored.items()}
        values[_DEVICE.number] = tensors[0].device if tensors else torch.device("cpu")
        for (_, value), tensor in zip(self._description.inputs, tensors, strict=True):
            values[value.number] = tensor
        for step in self._steps:
            args = [_filled(each, values) for each in step.args]
            kwargs = {name: _filled(each, values) for name, each in step.kwargs.items()}
            if step.check and not step.check(dict(zip(step.names, [*args, *kwargs.values()], strict=True))):
                raise ModelZooError(f"{step.label.name}: the tensors given to {step.label.kind} do not fit together")
            given = watch(step.label, partial(step.function, *args, **kwargs))
            _keep_results(step.results, given, values)
            for number in step.finished:
                del values[number]
        for target, value in self._description.changed:
            values[target.number].copy_(values[value.number])
        return _filled(self._description.outputs, values)


def check_inputs(description: Description, tensors: Sequence[torch.Tensor]) -> None:
    """Refuse inputs that a program was not made for: an operator may take them all the same, and give nonsense.

    Raises:
        ModelZooError: Names the input.
    """
    if len(tensors) != len(description.inputs):
        raise ModelZooError(f"the program takes {len(description.inputs)} inputs, not {len(tensors)}")
    sizes: dict[str, int] = {}
    for port, tensor in zip(description.ports, tensors, strict=True):
        fits = len(tensor.shape) == len(port.shape) and str(tensor.dtype) == f"torch.{port.dtype}"
        for wanted, size in zip(port.shape, tensor.shape, strict=False):
            own = sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
            least, most = description.ranges.get(str(wanted), (0, None))
            fits = fits and size == own and size >= least and (most is None or size <= most)
        if not fits:
            given = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            takes = f"{port.dtype}[{', '.join(map(str, port.shape))}]"
            raise ModelZooError(f"input '{port.name}' is {given}, the program takes {takes}")


def load_program(file: Path, description: Description) -> Program:
    """The program of a file with its tensors, which are read as data.

    Raises:
        ModelZooError: It cannot be built.
    """
    checkpoint = open_checkpoint(file)
    tensors: dict[str, torch.Tensor] = {}
    for name in checkpoint.contents.state_dicts:
        tensors |= checkpoint.load(name, partial=True)
    return Program(description, tensors)


def _step(place: int, node: Node, stored: Mapping[int, str], finished: tuple[int, ...]) -> Step:
    arguments = {key: _own(value) for key, value in node.arguments.items()}
    if node.operator in NUMBERS:
        function: Callable[..., Any] = NUMBERS[node.operator]
        check: Check | None = None
        names: tuple[str, ...] = ()
        args, kwargs = tuple(arguments.values()), dict[str, Any]()
    else:
        function = overload = _overload(node.operator)
        args, kwargs = _ordered(overload, arguments)
        check = check_for(node.operator)
        names = (*(argument.name for argument in overload._schema.arguments[: len(args)]), *kwargs)
    used = tuple(dict.fromkeys(stored[n] for n in _numbers(node.arguments) if n in stored))
    kind = node.operator.removeprefix("aten.").removesuffix(".default")
    label = Label(place, node.shown, kind, used)
    return Step(label, function, args, kwargs, node.results, finished, check, names)


def _last_uses(description: Description) -> list[tuple[int, ...]]:
    """For each node, the values that nothing uses after it."""
    waiting = [stored.value.number for stored in description.stored]
    waiting += _numbers([description.outputs, list(map(list, description.changed))])
    seen = set(waiting)
    finished: list[tuple[int, ...]] = []
    for node in reversed(description.nodes):
        new = [n for n in dict.fromkeys(_numbers([node.arguments, node.results])) if n not in seen]
        seen.update(new)
        finished.append(tuple(new))
    return finished[::-1]


def _numbers(value: Any) -> list[int]:
    """Every value in an argument, also in lists and dictionaries."""
    if isinstance(value, Value):
        return [value.number]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [number for each in inner for number in _numbers(each)]


def _own(value: Any) -> Any:
    """An argument with what torch itself has for dtypes and formats."""
    if isinstance(value, list):
        return [_own(each) for each in value]
    if isinstance(value, Constant):
        return _DEVICE if value.kind == "device" else getattr(torch, value.name)
    return value


def _filled(value: Any, values: Mapping[int, Any]) -> Any:
    if isinstance(value, Value):
        return values[value.number]
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    return value


def _keep_results(results: list[Any], given: Any, values: dict[int, Any]) -> None:
    """An operator of one result gives it, of several a tuple; one that gives a list has one result, a list."""
    if len(results) == 1 and isinstance(results[0], Value):
        values[results[0].number] = given
        return
    flat = results[0] if len(results) == 1 else results
    for result, value in zip(flat or (), given if flat else (), strict=True):
        if result is not None:
            values[result.number] = value


def _overload(name: str) -> torch._ops.OpOverload:
    """An operator by a name that `operators` allows.

    Raises:
        ModelZooError: torch has it not, or it gives something else than tensors, or writes into an argument.
    """
    _, base, form = name.split(".")
    packet = getattr(torch.ops.aten, base, None)
    if packet is None or form not in packet.overloads() or form.startswith("prim_"):  # of TorchScript alone
        raise ModelZooError(f"torch {torch.__version__} has no operator {name}")
    overload: torch._ops.OpOverload = getattr(packet, form)
    schema = overload._schema
    gives_tensors = all(str(each.real_type) in ("Tensor", "List[Tensor]") for each in schema.returns)
    if not (gives_tensors or base.startswith("sym_")) or any(argument.is_out for argument in schema.arguments):
        raise ModelZooError(f"the program uses {name}, which is not arithmetic on tensors")
    return overload


def _ordered(overload: torch._ops.OpOverload, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments.

    Raises:
        ModelZooError: They are not those of the schema.
    """
    schema = overload._schema
    unknown = arguments.keys() - {argument.name for argument in schema.arguments}
    missing = [a.name for a in schema.arguments if a.name not in arguments and not a.has_default_value()]
    wrong = [a.name for a in schema.arguments if a.name in arguments and not _is(str(a.real_type), arguments[a.name])]
    if unknown or missing or wrong:
        raise ModelZooError(f"the program calls {overload} with other arguments than it takes")
    names = [argument.name for argument in schema.arguments if not argument.kwarg_only]
    first_left_out = next((place for place, name in enumerate(names) if name not in arguments), len(names))
    positional = names[:first_left_out]
    rest = {name: value for name, value in arguments.items() if name not in positional}
    return tuple(arguments[name] for name in positional), rest


def _is(kind: str, value: Any) -> bool:
    """Whether a value is of a type that a schema names."""
    if kind.startswith("Optional["):
        return value is None or _is(kind[len("Optional[") : -1], value)
    if kind.startswith("List["):
        inner = kind[len("List[") : -1]
        if isinstance(value, list):
            return all(_is(inner, each) for each in value)
        return inner in ("int", "float") and _is(inner, value)  # one number for all dimensions
    return isinstance(value, _TYPES.get(kind, ()))
