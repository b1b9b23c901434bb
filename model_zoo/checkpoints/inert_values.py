"""Values of a pickle that is read as data: names, instances of unknown classes, tensors, and stand-ins for the calls
that make tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.stored_tensor import ITEM_SIZES, MOST_DIMENSIONS, QUANTIZED, checked_shape
from model_zoo.utils.text import printable

#: Characters of a module or a class in a message.
_MOST_CHARACTERS = 200


@dataclass(frozen=True)
class Global:
    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module[:_MOST_CHARACTERS]}.{self.name[:_MOST_CHARACTERS]}")


@dataclass(eq=False, slots=True)
class Inert:
    """Stands for an instance of a class that was not imported, or for the result of a call that was not made. The state
    are the attributes of the instance.
    """

    type_name: str
    arguments: tuple[object, ...] = field(default=(), repr=False)  # values may refer to others without end
    state: dict[object, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Storage:
    """A block of numbers kept outside the pickle. If only its views have a dtype it has none, and counts bytes."""

    key: str
    numel: int
    dtype: str | None


@dataclass(frozen=True, eq=False, slots=True)
class TensorView:
    """A tensor: a view of a storage. Offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    quantizer: Quantizer | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False, slots=True)
class Quantizer:
    """How the integers of a quantized tensor become numbers: one scale for all, or one for each index of `axis`."""

    scheme: str
    scale: float | TensorView
    zero_point: int | TensorView
    axis: int | None = None


@dataclass(frozen=True)
class OddTensor:
    """A tensor whose values cannot be read: it is damaged, or whole but of a kind that is unsupported."""

    problem: str
    unsupported: bool = False
    dtype: str = "unknown"
    size: tuple[int, ...] = ()


#: A pickled value that is a tensor.
AnyTensor = TensorView | OddTensor
#: JSON values.
Json = Mapping[str, Any] | list[Any] | str | int | float | bool | None

_MOST_KEY_PARTS = 16
_BUILTINS = ("builtins", "__builtin__")

#: The dtype of each of torch's storage classes; None for the one without.
STORAGE_DTYPES = {
    **{"FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "DoubleStorage": "float64"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8"},
    **{"ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": None},
    **{"ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128"},
    **{"QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32"},
}


def as_count(value: object) -> int:
    """A size: an integer from 0 to 2^63."""
    if not isinstance(value, int):
        raise ValueError(f"a tensor has a value of type {type(value).__name__} where a size belongs")
    if not 0 <= value < 2**63:
        raise ValueError(f"a tensor has {value if abs(value) < 2**64 else 'a huge number'} where a size belongs")
    return int(value)


def as_sequence(value: object) -> list[object] | tuple[object, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("damaged: a list is expected")
    return value


def as_key(value: object, budget: Budget) -> object:
    """What may be a key of a dictionary. Python's hashes of numbers and tuples are known to an attacker, who could make
    thousands collide, and a deeply nested tuple overflows the C stack: so integers stay small, and tuples become text.
    """
    if isinstance(value, tuple) and len(value) <= _MOST_KEY_PARTS and all(map(_is_small, value)):
        text = repr(value)
        budget.work(3 + len(text) // 64, 80 + len(text))
        return text
    if not _is_small(value) and not isinstance(value, (str, bytes, Global, Inert, TensorView)):
        raise ValueError("damaged: a dictionary has a key that is no plain value")
    return value


def _is_small(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**60
    return value is None or isinstance(value, float) or (isinstance(value, str) and len(value) <= 200)


def _counts(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > MOST_DIMENSIONS:
        raise ValueError("a tensor has no short tuple where its sizes belong")
    return tuple(map(as_count, value))


def _sizes(value: object) -> tuple[int, ...]:
    try:
        return checked_shape(_counts(value))
    except UnreadableError as error:
        raise ValueError(str(error)) from error


def persistent(identity: object) -> Storage | Global:
    """The storage or module class that a persistent id stands for."""
    match identity:
        case ("module", Global() as cls, *_):  # legacy files carry the source code of module classes
            return cls
        case ("storage", Global("torch" | "torch.storage", name), str(key), str(), int(numel), *rest):
            if not (key.isascii() and key.isalnum()):
                raise ValueError(f"a storage has the key '{printable(key)}'")
            if name not in STORAGE_DTYPES:
                raise ValueError(f"tensors of torch.{printable(name)} are not supported")
            if rest not in ([], [None]):
                raise ValueError("views of storages, as torch before 0.4 wrote them, are not supported")
            return Storage(key, as_count(numel), STORAGE_DTYPES[name])
    raise ValueError("a persistent id is not that of a tensor's storage")


def _tensor(_budget: Budget, *arguments: object) -> TensorView:
    match arguments:
        case (Storage() as storage, offset, size, stride, _, _, Global("torch", dtype), *_):  # one that says its dtype
            return TensorView(storage, dtype, as_count(offset), _sizes(size), _counts(stride))
        case (Storage(dtype=str(dtype)) as storage, offset, size, stride, *_):
            return TensorView(storage, dtype, as_count(offset), _sizes(size), _counts(stride))
    raise ValueError("a tensor has no typed storage")


def _quantized(budget: Budget, *arguments: object) -> TensorView:
    *parts, quantizer = arguments[:5]
    view = _tensor(budget, *parts)
    match quantizer:
        case (Global("torch", scheme), float(scale), int(zero_point)):
            return replace(view, quantizer=Quantizer(scheme, scale, zero_point))
        case (Global("torch", scheme), TensorView() as scales, TensorView() as zero_points, int(axis)):
            return replace(view, quantizer=Quantizer(scheme, scales, zero_points, axis))
    raise ValueError("a quantized tensor has no scale and zero point")


def _sparse(_budget: Budget, layout: object, *_rest: object) -> OddTensor:
    kind = str(layout) if isinstance(layout, Global) else "unknown"
    return OddTensor(f"is sparse, in the layout {kind}: only dense tensors are read", unsupported=True)


def _meta(_budget: Budget, dtype: object, size: object, *_rest: object) -> OddTensor:
    name = dtype.name if isinstance(dtype, Global) else "unknown"
    return OddTensor("was saved from the meta device, without values", True, printable(name), _sizes(size))


def _first(_budget: Budget, value: object, *_rest: object) -> object:
    return value


def _ordered_dict(budget: Budget, items: object = (), /) -> dict[object, object]:
    result: dict[object, object] = {}
    for item in as_sequence(items):
        key, value = as_sequence(item)
        result[as_key(key, budget)] = value
    return result


def as_set(budget: Budget, items: object = (), /) -> set[object]:
    return {as_key(item, budget) for item in as_sequence(items)}


def _bound_method(_budget: Budget, owner: object, name: object) -> object:
    """The result of `getattr`, as which an attribute that holds a method is pickled. The method is not looked up."""
    if isinstance(owner, Inert) and isinstance(name, str):
        return Inert(f"{owner.type_name}.{printable(name)}")
    return NotImplemented


def _encode(_budget: Budget, text: object, encoding: object = "utf-8", *_rest: object) -> object:
    """Bytes as old protocols write them; every other encoding stays undone."""
    if isinstance(text, str) and encoding == "latin1":
        return text.encode("latin-1")
    return Inert("_codecs.encode")


def _opaque(name: str) -> Callable[..., Inert]:
    """A value that no state dict needs."""
    return lambda _budget, *arguments: Inert(name, arguments)


#: The only names that a pickle may call, and what is done instead, with the budget and the arguments; the result is
#: `NotImplemented` where the namesake could do harm.
CALLS: dict[tuple[str, str], Callable[..., object]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): lambda _budget, _factory=None: {},
    **{(module, name): as_set for module in _BUILTINS for name in ("set", "frozenset")},
    **{(module, "getattr"): _bound_method for module in _BUILTINS},
    ("_codecs", "encode"): _encode,
    **{("torch._utils", f"_rebuild_tensor{version}"): _tensor for version in ("", "_v2", "_v3")},
    ("torch._utils", "_rebuild_qtensor"): _quantized,
    ("torch._utils", "_rebuild_sparse_tensor"): _sparse,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _meta,
    **{("torch._utils", f"_rebuild_parameter{kind}"): _first for kind in ("", "_with_state")},
    ("torch", "Size"): lambda _budget, sizes=(), /: _counts(tuple(as_sequence(sizes))),
    ("torch", "device"): _opaque("torch.device"),
    ("torch.serialization", "_get_layout"): lambda _budget, name: Global(
        "torch", name if isinstance(name, str) else "?"
    ),
    **{
        (f"numpy.{core}.multiarray", name): _opaque(f"numpy.{name}")
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    },
    ("numpy", "dtype"): _opaque("numpy.dtype"),
    **{
        ("torch.jit._pickle", f"build_{kind}list"): lambda _budget, items, /: list(as_sequence(items))
        for kind in ("int", "double", "bool", "tensor")
    },
    ("torch.jit._pickle", "restore_type_tag"): _first,
}

_TORCH_NAMES = {
    *STORAGE_DTYPES,
    *ITEM_SIZES,
    *QUANTIZED,
    *("per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams", "strided", "sparse_coo"),
}


def is_known(name: Global) -> bool:
    """Whether the reader knows what a name means, so that it need not be looked up."""
    is_torch = name.module in ("torch", "torch.storage") and name.name in _TORCH_NAMES
    return is_torch or (name.module, name.name) in CALLS
