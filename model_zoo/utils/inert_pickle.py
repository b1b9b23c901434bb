"""Read a pickle as data: nothing in it is imported, looked up or called.

`torch.load(weights_only=True)` refuses pickled modules, and where a legacy file declares a view larger than its storage
it grows the storage. Here the opcodes are decoded by `pickletools` and build plain values; names stay names, instances
of any class become `Inert`, and the few functions that describe tensors have stand-ins of our own.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class InertPickleError(Exception):
    """The pickle is damaged, or asks for a call that is refused."""


class ByteStream(Protocol):
    """What is needed of a file."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


@dataclass(frozen=True)
class Global:
    """The name of a class or function."""

    module: str
    name: str

    def __str__(self) -> str:
        return _printable(f"{self.module}.{self.name}")


@dataclass(eq=False)
class Inert:
    """Stands for an instance of a class that was not imported.

    Args:
        type_name: Of the class.
        state: The attributes the instance had.
    """

    type_name: str
    state: dict[object, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """A block of numbers kept outside the pickle.

    Args:
        dtype: Name of the torch dtype; None if the views tell it, and `numel` then counts bytes.
    """

    key: str
    numel: int
    dtype: str | None


@dataclass(frozen=True)
class TensorView:
    """A tensor: a window on a storage. Offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


_STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": None,
}


def _printable(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")[:200]


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise InertPickleError(f"a tensor has {_printable(repr(value))} where a size belongs")
    return value


def _counts(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        raise InertPickleError("a tensor has no tuple where its sizes belong")
    return tuple(_count(item) for item in value)


def _persistent(identity: object) -> Storage | Global:
    match identity:
        case ("module", Global() as cls, *_):  # legacy files carry the source code of module classes
            return cls
        case ("storage", Global("torch" | "torch.storage", name), str(key), str(), int(numel), *rest):
            if not (key.isascii() and key.isalnum()):
                raise InertPickleError(f"a storage has the key '{_printable(key)}'")
            if name not in _STORAGE_DTYPES:
                raise InertPickleError(f"tensors of torch.{_printable(name)} are not supported")
            if rest not in ([], [None]):
                raise InertPickleError("views of storages, as torch before 0.4 wrote them, are not supported")
            return Storage(key, _count(numel), _STORAGE_DTYPES[name])
    raise InertPickleError("a persistent id is not that of a tensor's storage")


def _tensor(storage: object, offset: object, size: object, stride: object, *_rest: object) -> TensorView:
    if not isinstance(storage, Storage) or storage.dtype is None:
        raise InertPickleError("a tensor has no typed storage")
    return TensorView(storage, storage.dtype, _count(offset), _counts(size), _counts(stride))


def _tensor_with_dtype(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    _grad: object,
    _hooks: object,
    dtype: object,
    *_: object,
) -> TensorView:
    if not isinstance(storage, Storage) or not isinstance(dtype, Global) or dtype.module != "torch":
        raise InertPickleError("a tensor has no storage or no dtype")
    return TensorView(storage, dtype.name, _count(offset), _counts(size), _counts(stride))


def _parameter(data: object, *_rest: object) -> object:
    return data


def _ordered_dict(items: object = (), /) -> dict[object, object]:
    result: dict[object, object] = {}
    for item in _sequence(items):
        key, value = _sequence(item)
        result[_key(key)] = value
    return result


def _default_dict(_factory: object = None) -> dict[object, object]:
    return {}


def _set(items: object = (), /) -> set[object]:
    return {_key(item) for item in _sequence(items)}


def _bound_method(owner: object, name: object) -> Inert:
    """How an instance attribute that holds a method is pickled. The method is not looked up."""
    if not isinstance(owner, Inert) or not isinstance(name, str):
        raise InertPickleError("refuses to call builtins.getattr on anything but an inert instance")
    return Inert(f"{owner.type_name}.{_printable(name)}")


def _opaque(*_arguments: object) -> Inert:
    """A value that no state dict needs."""
    return Inert("value")


#: The only names that a pickle may call, and what is done instead.
_CALLS: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_with_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch", "Size"): lambda sizes=(), /: _counts(tuple(_sequence(sizes))),
    ("torch", "device"): _opaque,
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): _default_dict,
    ("_codecs", "encode"): _opaque,
    **{(module, name): _set for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{(module, "getattr"): _bound_method for module in ("builtins", "__builtin__")},
    **{
        (f"numpy.{core}.multiarray", name): _opaque for core in ("core", "_core") for name in ("scalar", "_reconstruct")
    },
    ("numpy", "dtype"): _opaque,
}

#: Opcodes that carry the value they push.
_LITERALS = frozenset(
    code.name
    for code in pickletools.opcodes
    if code.arg and not code.stack_before and code.stack_after not in ([], [pickletools.anyobject])
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _sequence(value: object) -> list[object] | tuple[object, ...]:
    if not isinstance(value, (list, tuple)):
        raise InertPickleError("damaged: a list is expected")
    return value


def _key(value: object) -> object:
    """Let through what hashes without recursion: a deeply nested tuple would overflow the C stack."""
    flat = value if isinstance(value, tuple) else (value,)
    if not all(item is None or isinstance(item, (str, bytes, int, float, Global, Inert, TensorView)) for item in flat):
        raise InertPickleError("damaged: a dictionary has a key that is no plain value")
    return value


class _Machine:
    """The stack, the marks and the memo that the opcodes work on."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}

    def above_mark(self) -> list[object]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def step(self, opcode: str, argument: object) -> None:
        """Carry out one opcode."""
        stack = self.stack
        if opcode in _LITERALS:
            stack.append(argument)
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
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.marks.append(len(stack))
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.above_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[_count(argument)] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[_count(argument)])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(set())
            case "TUPLE":
                stack.append(tuple(self.above_mark()))
            case "LIST":
                stack.append(self.above_mark())
            case "DICT":
                stack.append(_with_items({}, self.above_mark()))
            case "FROZENSET":
                stack.append(_set(self.above_mark()))
            case "APPEND":
                _extend([stack.pop()], stack[-1])
            case "APPENDS" | "ADDITEMS":
                _extend(self.above_mark(), stack[-1])
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _with_items(stack[-1], [key, value])
            case "SETITEMS":
                items = self.above_mark()
                _with_items(stack[-1], items)
            case "GLOBAL":
                module, _, name = str(argument).partition(" ")
                stack.append(Global(module, name))
            case "STACK_GLOBAL":
                second, first = stack.pop(), stack.pop()
                if not isinstance(first, str) or not isinstance(second, str):
                    raise InertPickleError("damaged: a name is expected")
                stack.append(Global(first, second))
            case "BINPERSID":
                kept = _persistent(stack.pop())
                if isinstance(kept, Storage) and self.storages.setdefault(kept.key, kept) != kept:
                    raise InertPickleError(f"storage {kept.key} is declared in two ways")
                stack.append(kept)
            case "REDUCE":
                arguments, function = _sequence(stack.pop()), stack.pop()
                stack.append(_call(function, arguments))
            case "NEWOBJ":
                arguments, cls = _sequence(stack.pop()), stack.pop()
                stack.append(_instance(cls, arguments))
            case "BUILD":
                state = stack.pop()
                _set_state(stack[-1], state)
            case "INST":
                raise _refusal(Global(*str(argument).split(" ", 1)))
            case "OBJ":
                raise _refusal(self.above_mark()[0])
            case "NEWOBJ_EX":
                raise _refusal(stack[-3])
            case _:
                raise InertPickleError(f"refuses the opcode {opcode}")


def _refusal(function: object) -> InertPickleError:
    return InertPickleError(f"refuses to call {function if isinstance(function, Global) else 'a value of the file'}")


def _call(function: object, arguments: list[object] | tuple[object, ...]) -> object:
    stand_in = _CALLS.get((function.module, function.name)) if isinstance(function, Global) else None
    if stand_in is None:
        raise _refusal(function)
    return stand_in(*arguments)


def _instance(cls: object, arguments: list[object] | tuple[object, ...]) -> object:
    if not isinstance(cls, Global):
        raise _refusal(cls)
    return _call(cls, arguments) if (cls.module, cls.name) in _CALLS else Inert(str(cls))


def _extend(items: list[object], target: object) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, set):
        target.update(_key(item) for item in items)
    elif not isinstance(target, Inert):
        raise InertPickleError("damaged: items for what is no list")


def _with_items(target: object, items: list[object]) -> object:
    if isinstance(target, dict):
        target.update(zip(map(_key, items[::2]), items[1::2], strict=True))
    elif not isinstance(target, Inert):
        raise InertPickleError("damaged: items for what is no dictionary")
    return target


def _set_state(target: object, state: object) -> None:
    """Keep the attributes of an instance; what dictionaries and tensors carry besides is of no use here."""
    if isinstance(target, Global):
        raise InertPickleError(f"refuses to change {target}")
    if isinstance(target, Inert):
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                target.state.update(part)


def read_pickle(stream: ByteStream) -> tuple[object, dict[str, Storage]]:
    """Read one pickle; the stream is left just behind it.

    Returns:
        The value, and the storages it refers to by key.

    Raises:
        InertPickleError: It is damaged, or asks for a call or a change of anything but the makings of tensors.
    """
    machine = _Machine()
    try:
        for opcode, argument, _position in pickletools.genops(stream):  # type: ignore[arg-type]  # two methods do
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except (ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise InertPickleError(f"truncated or damaged: {_printable(str(error))}") from error
    return value, machine.storages
