"""Runs the graph of an exported program, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.text import printable
from model_zoo.workbench.explore.operators import NUMBERS, Check, check_for
from model_zoo.workbench.explore.program import Description, ProgramNode, ProgramValue, TorchConstant

#: Python types of the arguments of an operator, by the type that its schema names.
_TYPES: dict[str, tuple[type, ...]] = {
    "Tensor": (ProgramValue, int, float),  # torch makes tensors of numbers
    "int": (int, ProgramValue),
    "float": (int, float, ProgramValue),
    "number": (int, float, ProgramValue),
    "bool": (bool,),
    "str": (str,),
    "ScalarType": (torch.dtype,),
    "Layout": (torch.layout,),
    "MemoryFormat": (torch.memory_format,),
    "Device": (ProgramValue,),
}
#: Stands for the device that the inputs are on.
_DEVICE = ProgramValue(-1)


@dataclass(frozen=True)
class StepLabel:
    """A step of a graph for reports, with its index, its operator and the names of the module's tensors it takes."""

    index: int
    name: str
    kind: str
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class ProgramStep:
    """A call of an operator.

    Args:
        arguments: Arguments by name, or in order for arithmetic on sizes.
        results: Results of the `ProgramNode`.
        finished: Numbers of values that no later step uses.
        check: Check that the arguments belong together, where torch does not see to that.
    """

    label: StepLabel
    function: Callable[..., Any]
    arguments: dict[str, Any]
    results: list[Any]
    finished: tuple[int, ...]
    check: Check | None

    def call(self, values: Mapping[int, Any], observe: StepObserver) -> Any:
        arguments = {name: _filled(each, values) for name, each in self.arguments.items()}
        if self.check and not self.check(arguments):
            raise ModelZooError(f"{self.label.name}: the tensors given to {self.label.kind} do not fit together")
        if isinstance(self.function, torch._ops.OpOverload):
            return observe(self.label, partial(self.function, **arguments))
        return observe(self.label, partial(self.function, *arguments.values()))


#: Makes the call of a step, and may look at it.
StepObserver = Callable[[StepLabel, Callable[[], Any]], Any]


class Program(torch.nn.Module):
    """An exported program, with the tensors of its file. Their names are made here, and no text of it becomes code."""

    def __init__(self, description: Description, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._description = description
        self._stored = {stored.value.number: f"p{index}" for index, stored in enumerate(description.stored)}
        self._keep(tensors)
        finished = _last_uses(description)
        self._steps = [
            _step(index, node, self._stored, finished[index]) for index, node in enumerate(description.nodes)
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
        return self.run(tensors, lambda label, call: call())

    def run(self, tensors: Sequence[torch.Tensor], observe: StepObserver) -> Any:
        """Run all steps, each shown to an observer."""
        check_inputs(self._description, tensors)
        values: dict[int, Any] = {number: getattr(self, name) for number, name in self._stored.items()}
        values[_DEVICE.number] = tensors[0].device if tensors else torch.device("cpu")
        for (_, value), tensor in zip(self._description.inputs, tensors, strict=True):
            values[value.number] = tensor
        for step in self._steps:
            _keep_results(step.results, step.call(values, observe), values)
            for number in step.finished:
                del values[number]
        for target, value in self._description.changed:
            values[target.number].copy_(values[value.number])
        return _filled(self._description.outputs, values)


def check_inputs(description: Description, tensors: Sequence[torch.Tensor]) -> None:
    """Refuse inputs that a program was not made for: an operator may take them all the same, and give nonsense."""
    if len(tensors) != len(description.inputs):
        raise ModelZooError(f"the program takes {len(description.inputs)} inputs, not {len(tensors)}")
    sizes: dict[str, int] = {}
    for declared, tensor in zip(description.model_inputs, tensors, strict=True):
        fits = len(tensor.shape) == len(declared.shape) and str(tensor.dtype) == f"torch.{declared.dtype}"
        for wanted, size in zip(declared.shape, tensor.shape, strict=False):
            own = sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
            least, most = description.ranges.get(str(wanted), (0, None))
            fits = fits and size == own and size >= least and (most is None or size <= most)
        if not fits:
            actual = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            takes = f"{declared.dtype}[{', '.join(map(str, declared.shape))}]"
            raise ModelZooError(f"input '{declared.name}' is {actual}, the program takes {takes}")


def load_program(file: Path, description: Description) -> Program:
    """Return the program of a file with its tensors, which are read as data."""
    checkpoint = open_checkpoint(file)
    tensors: dict[str, torch.Tensor] = {}
    for name in checkpoint.contents.state_dicts:
        tensors |= checkpoint.load(name, partial=True)
    return Program(description, tensors)


def _step(index: int, node: ProgramNode, stored: Mapping[int, str], finished: tuple[int, ...]) -> ProgramStep:
    arguments = tree_map_only(TorchConstant, _torch_constant, node.arguments)
    is_on_sizes = node.operator in NUMBERS
    function = NUMBERS[node.operator] if is_on_sizes else _overload(node.operator, arguments)
    used = tuple(dict.fromkeys(stored[n] for n in _numbers(node.arguments) if n in stored))
    kind = node.operator.removeprefix("aten.").removesuffix(".default")
    label = StepLabel(index, node.name, kind, used)
    return ProgramStep(
        label, function, arguments, node.results, finished, None if is_on_sizes else check_for(node.operator)
    )


def _last_uses(description: Description) -> list[tuple[int, ...]]:
    """For each node, the values that nothing uses after it."""
    seen = {stored.value.number for stored in description.stored}
    seen.update(_numbers([description.outputs, description.changed]))
    finished: list[tuple[int, ...]] = []
    for node in reversed(description.nodes):
        new = set(_numbers([node.arguments, node.results])) - seen
        seen |= new
        finished.append(tuple(new))
    return finished[::-1]


def _numbers(value: Any) -> list[int]:
    """Every value in an argument, also in lists and dictionaries."""
    return [leaf.number for leaf in tree_leaves(value) if isinstance(leaf, ProgramValue)]


def _torch_constant(constant: TorchConstant) -> Any:
    return _DEVICE if constant.name == "cpu" else getattr(torch, constant.name)


def _filled(value: Any, values: Mapping[int, Any]) -> Any:
    if isinstance(value, ProgramValue):
        return values[value.number]
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    return value


def _keep_results(results: list[Any], outputs: Any, values: dict[int, Any]) -> None:
    """An operator of one result gives it, of several a tuple; one that gives a list has one result, a list."""
    if len(results) == 1 and isinstance(results[0], ProgramValue):
        values[results[0].number] = outputs
        return
    flat = results[0] if len(results) == 1 else results
    for result, value in zip(flat or (), outputs if flat else (), strict=True):
        if result is not None:
            values[result.number] = value


def _overload(name: str, arguments: dict[str, Any]) -> torch._ops.OpOverload:
    """Find an operator by a name that `operators` allows, and check the arguments that it is called with."""
    _, base, form = name.split(".")
    packet = getattr(torch.ops.aten, base, None)
    if packet is None or form not in packet.overloads() or form.startswith("prim_"):  # of TorchScript alone
        raise ModelZooError(f"torch {torch.__version__} has no operator {name}")
    overload: torch._ops.OpOverload = getattr(packet, form)
    schema = overload._schema
    gives_tensors = all(str(each.real_type) in ("Tensor", "List[Tensor]") for each in schema.returns)
    if not (gives_tensors or base.startswith("sym_")) or any(argument.is_out for argument in schema.arguments):
        raise ModelZooError(f"the program uses {name}, which is not arithmetic on tensors")
    unknown = arguments.keys() - {argument.name for argument in schema.arguments}
    missing = [a.name for a in schema.arguments if a.name not in arguments and not a.has_default_value()]
    wrong = [a.name for a in schema.arguments if a.name in arguments and not _is(str(a.real_type), arguments[a.name])]
    if unknown or missing or wrong:
        raise ModelZooError(f"the program calls {overload} with other arguments than it takes")
    return overload


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
