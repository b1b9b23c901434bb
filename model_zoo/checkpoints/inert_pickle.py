"""Read a pickle as data: nothing in it is imported, looked up or called.

`torch.load(weights_only=True)` refuses pickled modules, and where a legacy file declares a view larger than its storage
it grows the storage. Here the opcodes are decoded by `pickletools` and build plain values; names stay names, instances
of any class and results of any call become `Inert`, and the few functions that describe tensors have stand-ins of our
own. What cannot be done is noted and read over, so that the rest of the file can be told.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Protocol

from model_zoo.checkpoints.inert_calls import (
    CALLS,
    RefusedCallError,
    as_count,
    as_key,
    as_sequence,
    as_set,
    is_known,
    persistent,
)
from model_zoo.checkpoints.inert_values import Global, Inert, InertPickleError, OddTensor, Storage, printable

#: Steps of work that a pickle may ask for: one for each opcode, more where one opcode touches many values. A tensor
#: takes about forty.
_MOST_WORK = 5_000_000
#: Noted problems; more would be of no use to anyone.
_MOST_PROBLEMS = 100


class ByteStream(Protocol):
    """What is needed of a file."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


@dataclass
class Pickled:
    """What one pickle holds.

    Args:
        storages: Those that it refers to, by key.
        names: Every name in it whose meaning is not known to the reader, in order.
        calls: What it wanted to be called or changed.
        problems: What is damaged, in words.
        whole: Whether it was read to its end.
    """

    value: object = None
    storages: dict[str, Storage] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    whole: bool = True

    def note(self, problem: str) -> None:
        """Keep a problem, if it is among the first."""
        if len(self.problems) < _MOST_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)


def read_pickle(stream: ByteStream) -> Pickled:
    """Read one pickle; the stream is left just behind it.

    Raises:
        InertPickleError: It asks for more work than any checkpoint needs.
    """
    machine = _Machine()
    try:
        for opcode, argument, _position in pickletools.genops(stream):  # type: ignore[arg-type]  # two methods do
            machine.step(opcode.name, argument)
        (machine.found.value,) = machine.stack
    except (InertPickleError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        machine.found.whole = False
        machine.found.note(f"the pickle is truncated or damaged: {printable(str(error))}")
        machine.found.value = machine.unwind()
    return machine.found


#: Opcodes that carry the value they push.
_LITERALS = frozenset(
    code.name
    for code in pickletools.opcodes
    if code.arg and not code.stack_before and code.stack_after not in ([], [pickletools.anyobject])
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MEMO = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_RECALL = frozenset({"GET", "BINGET", "LONG_BINGET"})


class _Machine:
    """The stack, the marks and the memo that the opcodes work on."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.found = Pickled()
        self.work = 0

    def above_mark(self) -> list[object]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def unwind(self) -> object:
        """What a pickle that ends too early has made so far: open lists and dictionaries take what they were to get."""
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

    def charge(self, work: int) -> None:
        self.work += work
        if self.work > _MOST_WORK:
            raise InertPickleError(f"asks for more than {_MOST_WORK} steps of work")

    def step(self, opcode: str, argument: object) -> None:
        """Carry out one opcode."""
        stack = self.stack
        self.work += 1
        if self.work > _MOST_WORK:
            self.charge(0)
        if opcode in _LITERALS:
            stack.append(argument)
        elif opcode in _MEMO:
            self.memo[as_count(argument)] = stack[-1]
        elif opcode in _RECALL:
            stack.append(self.memo[as_count(argument)])
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            stack[-count:] = [tuple(stack[-count:])]
        else:
            self._step(opcode, argument)

    def _step(self, opcode: str, argument: object) -> None:
        stack = self.stack
        match opcode:
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self.above_mark()))
            case "REDUCE":
                arguments, function = as_sequence(stack.pop()), stack.pop()
                stack.append(self._call(function, arguments))
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case "NEWOBJ":
                arguments, cls = as_sequence(stack.pop()), stack.pop()
                stack.append(self._instance(cls, arguments))
            case "BUILD":
                state = stack.pop()
                self._set_state(stack[-1], state)
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GLOBAL":
                module, _, name = str(argument).partition(" ")
                stack.append(self._named(Global(module, name)))
            case "STACK_GLOBAL":
                second, first = stack.pop(), stack.pop()
                if not isinstance(first, str) or not isinstance(second, str):
                    raise InertPickleError("a name is expected")
                stack.append(self._named(Global(first, second)))
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                self.charge(3)  # the largest of empty things
                stack.append(set())
            case "LIST":
                stack.append(self.above_mark())
            case "DICT":
                stack.append(_with_items({}, self.above_mark()))
            case "FROZENSET":
                stack.append(as_set(self.above_mark()))
            case "APPEND":
                _extend([stack.pop()], stack[-1])
            case "APPENDS" | "ADDITEMS":
                items = self.above_mark()
                _extend(items, stack[-1])
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _with_items(stack[-1], [key, value])
            case "SETITEMS":
                items = self.above_mark()
                _with_items(stack[-1], items)
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.above_mark()
            case "DUP":
                stack.append(stack[-1])
            case _:
                self._step_refused(opcode, argument)

    def _step_refused(self, opcode: str, argument: object) -> None:
        """Opcodes that tensors never need: they make objects by calls, or take them from outside the pickle."""
        stack = self.stack
        match opcode:
            case "INST":
                function = self._named(Global(*str(argument).split(" ", 1)))
                stack.append(self._refuse(function, self.above_mark()))
            case "OBJ":
                cls, *rest = self.above_mark()
                stack.append(self._refuse(cls, rest))
            case "NEWOBJ_EX":
                _keywords, arguments, cls = stack.pop(), as_sequence(stack.pop()), stack.pop()
                stack.append(self._refuse(cls, arguments))
            case "PERSID":
                raise InertPickleError("a persistent id is not that of a tensor's storage")
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(self._refuse(f"the opcode {opcode} {argument}", ()))
            case _:
                self.found.calls[f"the opcode {opcode}"] = None
                raise InertPickleError(f"the opcode {opcode} is refused")

    def _named(self, name: Global) -> Global:
        if not is_known(name):
            self.found.names[str(name)] = None
        return name

    def _persistent(self, identity: object) -> object:
        try:
            kept = persistent(identity)
            if isinstance(kept, Storage) and self.found.storages.setdefault(kept.key, kept) != kept:
                raise InertPickleError(f"storage {kept.key} is declared in two ways")
        except InertPickleError as error:
            self.found.note(str(error))
            return Inert("storage")
        return kept

    def _refuse(self, function: object, arguments: list[object] | tuple[object, ...]) -> Inert:
        match function:
            case Global():
                called = str(function)
            case str():
                called = function
            case _:
                called = "a value of the file"
        self.found.calls[called] = None
        return Inert(called, tuple(arguments))

    def _call(self, function: object, arguments: list[object] | tuple[object, ...]) -> object:
        self.charge(sum(map(_work_of, arguments)))
        stand_in = CALLS.get((function.module, function.name)) if isinstance(function, Global) else None
        if stand_in is None:
            return self._refuse(function, arguments)
        try:
            return stand_in(*arguments)
        except RefusedCallError:
            return self._refuse(function, arguments)
        except (InertPickleError, TypeError, ValueError) as error:
            self.found.note(f"{function}: {printable(str(error))}")
            return OddTensor(f"is damaged: {printable(str(error))}")

    def _instance(self, cls: object, arguments: list[object] | tuple[object, ...]) -> object:
        if not isinstance(cls, Global):
            return self._refuse(cls, arguments)
        if (cls.module, cls.name) in CALLS:
            return self._call(cls, arguments)
        return Inert(str(cls), tuple(arguments))

    def _set_state(self, target: object, state: object) -> None:
        """Keep the attributes of an instance; what dictionaries and tensors carry besides is of no use here."""
        if isinstance(target, Global):
            self.found.calls[f"a change of {target}"] = None
        elif isinstance(target, Inert):
            self.charge(_work_of(state))
            parts = [part for part in (state if isinstance(state, tuple) else (state,)) if isinstance(part, dict)]
            for part in parts:
                self.charge(len(part))
                target.state.update(part)
            if not parts:
                target.raw_state = state


def _work_of(value: object) -> int:
    if isinstance(value, (str, bytes)):
        return len(value) // 32
    return len(value) if isinstance(value, (list, tuple, dict, set)) else 0


def _extend(items: list[object], target: object) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, set):
        target.update(as_key(item) for item in items)
    elif not isinstance(target, Inert):
        raise InertPickleError("items for what is no list")


def _with_items(target: object, items: list[object]) -> object:
    if isinstance(target, dict):
        target.update(zip(map(as_key, items[::2]), items[1::2], strict=True))
    elif not isinstance(target, Inert):
        raise InertPickleError("items for what is no dictionary")
    return target
