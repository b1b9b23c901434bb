"""Read a pickle as data: nothing in it is imported, looked up or called.

`torch.load(weights_only=True)` refuses pickled modules, and where a legacy file declares a view larger than its storage
it grows the storage. Here the opcodes are decoded by `pickletools` and build plain values; names stay names, instances
of any class and results of any call become `Inert`, and the few functions that describe tensors have stand-ins of our
own. What cannot be done is noted and read over, so that the rest of the file can be read.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.inert_values import (
    CALLS,
    Global,
    Inert,
    OddTensor,
    Storage,
    as_count,
    as_key,
    as_sequence,
    as_set,
    is_known,
    persistent,
)
from model_zoo.utils.text import printable

#: What the value that an opcode makes takes, with its entry of the stack; and more than that, an entry of a dictionary
#: or of the memo, an empty set, and an instance or a tensor.
_VALUE_BYTES, _ENTRY_BYTES, _SET_BYTES, _OBJECT_BYTES = 72, 112, 216, 400
#: Steps of a name that was not met before, and of a call.
_NAME_STEPS, _CALL_STEPS = 8, 3
#: Of one argument. Nothing that torch writes is as long.
_MOST_ARGUMENT_BYTES, _MOST_LINE_BYTES = 64 * 2**20, 2**20
#: Noted problems; more would be of no use to anyone.
_MOST_PROBLEMS = 100


@dataclass
class Pickled:
    """What one pickle holds.

    Args:
        storages: Those that it refers to, by key.
        names: Every name in it whose meaning is not known to the reader, in order.
        calls: What it wanted to be called or changed.
        whole: Whether it was read to its end.
    """

    value: object = None
    storages: dict[str, Storage] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    whole: bool = True

    def note(self, problem: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)


def read_pickle(stream: BinaryIO, budget: Budget) -> Pickled:
    """Read one pickle; the stream is left just behind it. Where it asks for too much, the result is not `whole`."""
    machine = _PickleMachine(budget)
    try:
        for opcode, argument, _position in pickletools.genops(_LimitedStream(stream, budget)):  # type: ignore[arg-type]
            machine.step(opcode.name, argument)
        (machine.result.value,) = machine.stack
    except (UnreadableError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        damage = error if isinstance(error, UnreadableError) else f"is truncated or damaged: {printable(str(error))}"
        machine.result.problems.append(f"the pickle {damage}")
        machine.result.whole = False
        machine.result.value = machine.unwind()
    return machine.result


class _LimitedStream:
    """Reads no more than memory is left for, whatever length an opcode says."""

    def __init__(self, stream: BinaryIO, budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int) -> bytes:
        content = self._stream.read(min(size, _MOST_ARGUMENT_BYTES))
        if size > 8:  # no number
            self._budget.work(size // 1024, len(content) if content.isascii() else 4 * len(content))
        return content

    def readline(self) -> bytes:
        content = self._stream.readline(_MOST_LINE_BYTES)
        self._budget.work(1, len(content))
        return content


#: Opcodes that carry the value they push.
_LITERALS = frozenset(
    code.name
    for code in pickletools.opcodes
    if code.arg and not code.stack_before and code.stack_after not in ([], [pickletools.anyobject])
)
_NEW: dict[str, Callable[[], object]] = {
    **{"NONE": type(None), "NEWFALSE": bool, "NEWTRUE": lambda: True},
    **{"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict},
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MEMO = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
#: How many items they take off the stack; 0 for all above the mark.
_ITEMS = {"APPEND": 1, "SETITEM": 2, "APPENDS": 0, "SETITEMS": 0, "ADDITEMS": 0}
_RECALL = frozenset({"GET", "BINGET", "LONG_BINGET"})


class _PickleMachine:
    """The stack, the marks and the memo that the opcodes work on."""

    def __init__(self, budget: Budget) -> None:
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.result = Pickled()
        self.budget = budget
        self._globals: dict[str, Global] = {}

    def above_mark(self) -> list[object]:
        return self._above(self.marks.pop())

    def _above(self, begin: int) -> list[object]:
        items = self.stack[begin:]
        del self.stack[begin:]
        return items

    def unwind(self) -> object:
        """The value so far of a pickle that ends too early: open lists and dictionaries take what they were to get."""
        while self.marks:
            items = self.above_mark()
            if self.stack and isinstance(self.stack[-1], dict):
                pairs = zip(items[::2], items[1::2], strict=False)
                self.stack[-1].update({key: value for key, value in pairs if isinstance(key, (str, int))})
            elif self.stack and isinstance(self.stack[-1], list):
                self.stack[-1].extend(items)
        while len(self.stack) > 1:
            value = self.stack.pop()
            key = self.stack[-1]
            if isinstance(key, str) and len(self.stack) > 1 and isinstance(self.stack[-2], dict):
                self.stack.pop()
                self.stack[-1][key] = value  # type: ignore[index]
        return self.stack[0] if self.stack else None

    def charge(self, items: int) -> None:
        """Count values that are copied, or become entries of a dictionary."""
        self.budget.work(items, items * _ENTRY_BYTES)

    def step(self, opcode: str, argument: object) -> None:
        stack = self.stack
        self.budget.work(1, _VALUE_BYTES)
        if opcode in _LITERALS:
            stack.append(argument)
        elif opcode in _MEMO:
            self.budget.memory(_ENTRY_BYTES)
            self.memo[len(self.memo) if opcode == "MEMOIZE" else as_count(argument)] = stack[-1]
        elif opcode in _RECALL:
            stack.append(self.memo[as_count(argument)])
        elif opcode in _NEW:
            stack.append(_NEW[opcode]())
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            stack[-count:] = [tuple(stack[-count:])]
        elif opcode in _ITEMS:
            items = self._above(-_ITEMS[opcode] or self.marks.pop())
            self._fill(stack[-1], items)
        else:
            self._step(opcode, argument)

    def _step(self, opcode: str, argument: object) -> None:
        stack = self.stack
        match opcode:
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self.above_mark()))
            case "LIST":
                stack.append(self.above_mark())
            case "DICT":
                stack.append(self._fill({}, self.above_mark()))
            case "EMPTY_SET":
                self.budget.memory(_SET_BYTES)
                stack.append(set())
            case "FROZENSET":
                items = self.above_mark()
                self.charge(len(items) + 2)
                stack.append(as_set(self.budget, items))
            case "GLOBAL":
                stack.append(self._named(*str(argument).split(" ", 1)))
            case "STACK_GLOBAL":
                second, first = stack.pop(), stack.pop()
                if not isinstance(first, str) or not isinstance(second, str):
                    raise ValueError("a name is expected")
                stack.append(self._named(first, second))
            case "REDUCE" | "NEWOBJ":
                arguments, function = as_sequence(stack.pop()), stack.pop()
                stack.append(self._call(opcode, function, arguments))
            case "BUILD":
                state = stack.pop()
                self._set_state(stack[-1], state)
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.above_mark()
            case "DUP":
                stack.append(stack[-1])
            case _:
                stack.append(self._step_refused(opcode, argument))

    def _step_refused(self, opcode: str, argument: object) -> Inert:
        """Opcodes that tensors never need: they make objects by calls, or take them from outside the pickle."""
        match opcode:
            case "INST":
                function = self._named(*str(argument).split(" ", 1))
                return self._refuse(function, self.above_mark())
            case "OBJ":
                cls, *rest = self.above_mark()
                return self._refuse(cls, rest)
            case "NEWOBJ_EX":
                _keywords, arguments, cls = self.stack.pop(), as_sequence(self.stack.pop()), self.stack.pop()
                return self._refuse(cls, arguments)
            case "PERSID":
                raise ValueError("a persistent id is not that of a tensor's storage")
            case "EXT1" | "EXT2" | "EXT4":
                return self._refuse(f"the opcode {opcode} {argument}", ())
        self.result.calls[f"the opcode {opcode}"] = None
        raise ValueError(f"the opcode {opcode} is refused")

    def _named(self, module: str, name: str = "") -> Global:
        key = f"{module} {name}"
        self.budget.work(len(key) // 256)
        if key not in self._globals:
            self.budget.work(_NAME_STEPS, 3 * _OBJECT_BYTES + 2 * sys.getsizeof(key))
            self._globals[key] = Global(module, name)
            if not is_known(self._globals[key]):
                self.result.names[str(self._globals[key])] = None
        return self._globals[key]

    def _persistent(self, identity: object) -> object:
        self.budget.work(_CALL_STEPS, _OBJECT_BYTES)
        try:
            value = persistent(identity)
            if isinstance(value, Storage) and self.result.storages.setdefault(value.key, value) != value:
                raise ValueError(f"storage {value.key} is declared in two ways")
            return value
        except ValueError as error:
            self.result.note(str(error))
            return Inert("storage")

    def _refuse(self, function: object, arguments: list[object] | tuple[object, ...]) -> Inert:
        called = str(function) if isinstance(function, Global | str) else "a value of the file"
        if called not in self.result.calls:
            self.budget.work(_NAME_STEPS, _OBJECT_BYTES)
            self.result.calls[called] = None
        return self._inert(called, arguments)

    def _inert(self, name: str, arguments: list[object] | tuple[object, ...]) -> Inert:
        self.budget.work(_CALL_STEPS, _OBJECT_BYTES + 8 * len(arguments))
        return Inert(name, tuple(arguments))

    def _call(self, opcode: str, function: object, arguments: list[object] | tuple[object, ...]) -> object:
        """Carry out a call by its stand-in. An instance of another class is no call: its class is only named."""
        self.charge(_CALL_STEPS + len(arguments) + sum(map(_work_of, arguments)))
        stand_in = CALLS.get((function.module, function.name)) if isinstance(function, Global) else None
        if stand_in is None and opcode == "NEWOBJ" and isinstance(function, Global):
            return self._inert(str(function), arguments)
        if stand_in is None:
            return self._refuse(function, arguments)
        try:
            value = stand_in(self.budget, *arguments)
        except (TypeError, ValueError) as error:
            self.result.note(f"{function}: {printable(str(error))}")
            return OddTensor(f"is damaged: {printable(str(error))}")
        return self._refuse(function, arguments) if value is NotImplemented else value

    def _set_state(self, target: object, state: object) -> None:
        """Keep the attributes of an instance; what dictionaries and tensors carry besides is of no use here."""
        if isinstance(target, Global):
            self.result.calls[f"a change of {target}"] = None
        elif isinstance(target, Inert):
            self.charge(_work_of(state))
            for part in state if isinstance(state, tuple) else (state,):
                if isinstance(part, dict):
                    self.charge(len(part))
                    target.state.update(part)

    def _fill(self, target: object, items: list[object]) -> object:
        """Put items into a list or a set, or keys and their values into a dictionary."""
        if isinstance(target, dict):
            self.charge(len(items) // 2 + (0 if target else 2))  # an empty one has no table yet
            keys = [as_key(key, self.budget) for key in items[::2]]
            target.update(zip(keys, items[1::2], strict=True))
        elif isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            self.charge(len(items))
            target.update(as_key(item, self.budget) for item in items)
        elif not isinstance(target, Inert):
            raise ValueError("items for what is no list, set or dictionary")
        return target


def _work_of(value: object) -> int:
    if isinstance(value, (str, bytes)):
        return len(value) // 32
    return len(value) if isinstance(value, (list, tuple, dict, set)) else 0
