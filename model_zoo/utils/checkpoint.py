"""Checkpoints in, state dicts out. A file is untrusted: it is read as data, and every size in it is checked."""

from __future__ import annotations

import io
import math
import mmap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from model_zoo.utils.errors import UserError
from model_zoo.utils.inert_pickle import Inert, InertPickleError, Storage, TensorView, read_pickle

#: What torch writes first into a file that is no zip.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

#: Where a training run keeps its model, best first: averaged weights are what the official loaders take.
_MODEL_KEYS = ("ema", "model", "state_dict", "params_ema", "params")

_MAX_PICKLE_BYTES = 64 * 2**20
_MAX_SAFETENSORS_HEADER = 100_000_000
_MAX_DEPTH = 64
_MAX_MODULES = 1_000_000

#: The bytes of one storage.
ReadStorage = Callable[[Storage], bytes]


class _CheckpointError(Exception):
    """What is wrong with a file, to be said after its name."""


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint by name, without importing or running anything in it.

    Takes safetensors and what torch saves, as zip or in the older format: a state dict, one nested under a key of
    `_MODEL_KEYS` (the first that holds tensors), or a pickled module. A `module.` before every name is taken off.

    Returns:
        Tensors on the CPU; half precision becomes float32.

    Raises:
        UserError: The file is missing, damaged, no checkpoint, holds no tensors, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is a folder, not a checkpoint" if path.is_dir() else f"no checkpoint at {path}")
    try:
        tensors = _read(path)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path} is truncated or damaged: {error}", "copy or download it again") from error
    except (_CheckpointError, InertPickleError) as error:
        raise UserError(f"{path}: {error}", "give a .safetensors, .pt or .pth file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    half = (torch.float16, torch.bfloat16)
    return {name: tensor.float() if tensor.dtype in half else tensor for name, tensor in tensors.items()}


def load_strict(module: torch.nn.Module, state_dict: Mapping[str, torch.Tensor], source: str) -> None:
    """Load a state dict that must fit exactly.

    Args:
        source: Where the state dict came from, for the message.

    Raises:
        UserError: Lists every name that is missing, extra, or has another shape, and every tensor with a NaN.
    """
    own = module.state_dict()
    problems = {
        "missing": [name for name in own if name not in state_dict],
        "extra": [name for name in state_dict if name not in own],
        "of another shape": [
            f"{name} {list(state_dict[name].shape)} instead of {list(tensor.shape)}"
            for name, tensor in own.items()
            if name in state_dict and state_dict[name].shape != tensor.shape
        ],
        "not finite": [name for name, tensor in state_dict.items() if not bool(torch.isfinite(tensor).all())],
    }
    found = [f"{len(names)} {problem}: {', '.join(names)}" for problem, names in problems.items() if names]
    if found:
        raise UserError(f"{source} does not fit {type(module).__name__}: {'; '.join(found)}")
    own.update(state_dict)
    module.load_state_dict(own)  # with its `_metadata`: some modules load by the version that they find there


def _read(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        head = file.read(1024)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _MAX_SAFETENSORS_HEADER:
        return _read_safetensors(path)
    if head.startswith(b"PK"):
        opened = _open_zip(path)
    elif head.startswith(b"\x80"):
        opened = _open_legacy(path)
    else:
        raise _CheckpointError(_what_else(head))
    with opened as (value, read_storage):
        views = _tensors_of(value)
        if not views:
            raise _CheckpointError("holds no tensors")
        if sum(math.prod(v.size) * _dtype(v.dtype).itemsize for v in views.values()) > 4 * path.stat().st_size + 2**20:
            raise _CheckpointError("declares far more tensors than the file has bytes")
        return _materialise(views, read_storage)


def _what_else(head: bytes) -> str:
    """Say what a file is that is no checkpoint."""
    start = head.lstrip().lower()
    if not start:
        return "is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint: the download went wrong"
    text = head.decode("utf-8", errors="ignore")
    if len(text.encode()) >= len(head) - 3 and all(
        character.isprintable() or character.isspace() for character in text
    ):
        return f"is a text file, not a checkpoint: it begins '{text.strip().splitlines()[0][:40]}'"
    return "is not a checkpoint"


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _CheckpointError(f"is not a whole safetensors file: {str(error).splitlines()[0]}") from error


@contextmanager
def _open_zip(path: Path) -> Iterator[tuple[object, ReadStorage]]:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise _CheckpointError("is a zip file, but no checkpoint: there is no data.pkl in it")
        prefix = pickles[0].removesuffix("data.pkl")
        if f"{prefix}constants.pkl" in entries:
            raise _CheckpointError("is a TorchScript program, not a checkpoint")
        # torch stores its records plainly; anything else could unpack to any size.
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in entries.values()):
            raise _CheckpointError("is a compressed zip file, which torch does not write")
        if sum(info.file_size for info in entries.values()) > path.stat().st_size:
            raise _CheckpointError("is damaged: its records are larger than the file")
        if entries[pickles[0]].file_size > _MAX_PICKLE_BYTES:
            raise _CheckpointError(f"has a pickle of more than {_MAX_PICKLE_BYTES} bytes")
        byte_order = f"{prefix}byteorder"
        if byte_order in entries and archive.read(byte_order) != b"little":
            raise _CheckpointError("was written on a big-endian machine")

        def read_storage(storage: Storage) -> bytes:
            record = entries.get(f"{prefix}data/{storage.key}")
            if record is None:
                raise _CheckpointError(f"is damaged: storage {storage.key} is missing")
            return archive.read(record)

        yield read_pickle(io.BytesIO(archive.read(pickles[0])))[0], read_storage


@contextmanager
def _open_legacy(path: Path) -> Iterator[tuple[object, ReadStorage]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if read_pickle(content)[0] != _LEGACY_MAGIC:
            raise _CheckpointError("is a pickle, but not one that torch wrote")
        if read_pickle(content)[0] != _LEGACY_PROTOCOL:
            raise _CheckpointError("has a format that only other versions of torch write")
        system = read_pickle(content)[0]
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise _CheckpointError("was written on a big-endian machine")
        value, storages = read_pickle(content)
        keys = read_pickle(content)[0]
        if not isinstance(keys, list):
            raise _CheckpointError("is damaged: it does not list its storages")
        places: dict[str, tuple[int, int]] = {}
        for key in keys:
            storage = storages.get(key) if isinstance(key, str) else None
            if storage is None:
                raise _CheckpointError("is damaged: it lists a storage that no tensor has")
            begin = content.tell() + 8
            end = begin + storage.numel * (_dtype(storage.dtype).itemsize if storage.dtype else 1)
            if end > len(content) or int.from_bytes(content.read(8), "little") != storage.numel:
                raise _CheckpointError(f"is truncated or damaged: storage {storage.key} is not whole")
            places[storage.key] = (begin, end)
            content.seek(end)

        def read_storage(storage: Storage) -> bytes:
            if storage.key not in places:
                raise _CheckpointError(f"is damaged: storage {storage.key} is missing")
            begin, end = places[storage.key]
            return content[begin:end]

        yield value, read_storage


def _tensors_of(value: object, depth: int = 0) -> dict[str, TensorView]:
    """The tensors of the model in a checkpoint, by name; empty if there are none."""
    if depth > _MAX_DEPTH:
        raise _CheckpointError("is nested too deeply")
    if isinstance(value, Inert):
        return dict(_parameters_of(value))
    if not isinstance(value, dict):
        return {}
    for key in _MODEL_KEYS:
        if found := _tensors_of(value.get(key), depth + 1):
            return found
    return {name: item for name, item in value.items() if isinstance(name, str) and isinstance(item, TensorView)}


def _parameters_of(module: Inert) -> Iterator[tuple[str, TensorView]]:
    """Walk a pickled module as `Module.state_dict` would."""
    waiting: list[tuple[str, Inert, int]] = [("", module, 0)]
    for _ in range(_MAX_MODULES):
        if not waiting:
            return
        prefix, current, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            break
        skipped = current.state.get("_non_persistent_buffers_set")
        for group in ("_parameters", "_buffers"):
            for name, tensor in _named(current, group):
                if isinstance(tensor, TensorView) and not (isinstance(skipped, set) and name in skipped):
                    yield prefix + name, tensor
        children = [(name, child) for name, child in _named(current, "_modules") if isinstance(child, Inert)]
        waiting.extend((f"{prefix}{name}.", child, depth + 1) for name, child in reversed(children))
    raise _CheckpointError("holds modules that are nested without end")


def _named(module: Inert, group: str) -> list[tuple[str, object]]:
    items = module.state.get(group)
    return [(name, item) for name, item in items.items() if isinstance(name, str)] if isinstance(items, dict) else []


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None) if name.isidentifier() else None
    if not isinstance(dtype, torch.dtype):
        raise _CheckpointError(f"has tensors of an unknown type '{name[:40]}'")
    return dtype


def _materialise(views: Mapping[str, TensorView], read_storage: ReadStorage) -> dict[str, torch.Tensor]:
    blocks: dict[tuple[str, str], torch.Tensor] = {}
    tensors: dict[str, torch.Tensor] = {}
    for name, view in views.items():
        block = (view.storage.key, view.dtype)
        if block not in blocks:
            blocks[block] = _block(view, read_storage)
        numbers = blocks[block]
        if not name.isprintable():
            raise _CheckpointError(f"has a tensor with the name {name[:40]!r}")
        last = view.offset + sum((n - 1) * step for n, step in zip(view.size, view.stride, strict=False))
        count = math.prod(view.size)
        if len(view.size) != len(view.stride) or count > numbers.numel() or (count and last >= numbers.numel()):
            raise _CheckpointError(
                f"is damaged: '{name}' {list(view.size)} needs more than the {numbers.numel()} values of its storage"
            )
        try:
            tensors[name] = (
                numbers.as_strided(view.size, view.stride, view.offset) if count else numbers.new_empty(view.size)
            )
        except RuntimeError as error:
            raise _CheckpointError(f"is damaged: '{name}' cannot have the shape {list(view.size)}") from error
    return tensors


def _block(view: TensorView, read_storage: ReadStorage) -> torch.Tensor:
    dtype = _dtype(view.dtype)
    expected = view.storage.numel * (_dtype(view.storage.dtype).itemsize if view.storage.dtype else 1)
    content = read_storage(view.storage)
    if len(content) != expected or expected % dtype.itemsize:
        raise _CheckpointError(f"is damaged: storage {view.storage.key} has {len(content)} bytes instead of {expected}")
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
