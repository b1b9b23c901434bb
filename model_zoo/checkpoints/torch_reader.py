"""What torch saves, as zip or in the older format."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format, TensorInfo
from model_zoo.checkpoints.inert_pickle import Pickled, read_pickle
from model_zoo.checkpoints.inert_values import AnyTensor, Json, OddTensor, Quantizer, TensorView
from model_zoo.checkpoints.nested import PickledParts, main_path, sort_pickled
from model_zoo.checkpoints.stored_tensor import ITEM_SIZES, QUANTIZED, FileBytes, Source, StoredTensor, UnpackedBytes
from model_zoo.checkpoints.zip_records import ZipRecords
from model_zoo.utils.text import listed, printable, shortened

#: What torch writes first into a file that is no zip.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_MOST_PICKLE_BYTES = 64 * 2**20
_OTHER_MACHINE = "was written on a big-endian machine"

#: Where a checkpoint keeps what its architecture was made from, best first.
_CONFIG_KEYS = ("config", "model_config", "model_args", "hyper_parameters", "cfg", "args", "hparams", "opt")
#: Scales of a quantized tensor that are listed one by one.
_MOST_SCALES = 100_000
#: State dict of the second pickle of TorchScript.
_CONSTANTS = "constants"

#: Where the values of each storage are, or why they are not there.
Sources = Mapping[str, Source | str]


def torch_prefix(archive: ZipRecords) -> str | None:
    """The folder that torch's records lie in, with its slash; None if the zip file is not torch's."""
    pickles = [name for name in archive.records if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) > 1:
        raise UnreadableError(f"is ambiguous: {listed(pickles)} are in it")
    return pickles[0].removesuffix("data.pkl") if pickles else None


def read_torch_zip(archive: ZipRecords, prefix: str) -> Contents:
    """Read a zip file that `torch.save` or `torch.jit.save` wrote."""
    is_script = f"{prefix}constants.pkl" in archive.records
    budget = archive.budget
    built = ContentsBuilder(archive.path, Format.TORCHSCRIPT if is_script else Format.TORCH_ZIP)
    built.problems += archive.problems
    with budget.share(0.75):
        pickled = read_pickle(io.BytesIO(archive.read(f"{prefix}data.pkl", _MOST_PICKLE_BYTES)), budget)
    # torch stores its records plainly; all but its code could unpack to any size.
    packed = [r.name for r in archive.records.values() if r.deflated and not (is_script and "/code/" in r.name)]
    if packed:
        built.problems.append(f"is a compressed zip file, which torch does not write: {printable(packed[0])} is packed")
    for name in ("version", "byteorder", ".format_version"):
        if f"{prefix}{name}" in archive.records:
            text = printable(archive.read(f"{prefix}{name}", 1000).decode("utf-8", "replace").strip())
            built.metadata[f"file {name.removeprefix('.')}"] = text
    foreign = built.metadata.get("file byteorder", "little") != "little"
    constants = None
    if is_script:
        with budget.share(0.5):
            constants = read_pickle(io.BytesIO(archive.read(f"{prefix}constants.pkl", _MOST_PICKLE_BYTES)), budget)
        built.metadata["code"] = [
            {"file": printable(name.removeprefix(prefix)), "bytes": record.size}
            for name, record in archive.records.items()
            if name.startswith(f"{prefix}code/") and name.endswith(".py")
        ]
    parts = _add_pickle(built, pickled, _zip_sources(archive, f"{prefix}data/", pickled, foreign), budget)
    if constants is not None:
        sources = _zip_sources(archive, f"{prefix}constants/", constants, foreign)
        _add_pickle(built, constants, sources, budget, _CONSTANTS)
    return _finished(built, parts)


def _zip_sources(archive: ZipRecords, folder: str, pickled: Pickled, foreign: bool) -> Sources:
    if foreign:
        return dict.fromkeys(pickled.storages, _OTHER_MACHINE)
    sources: dict[str, Source | str] = {}
    for key in pickled.storages:
        name = f"{folder}{key}"
        try:
            present = name in archive.records
            sources[key] = archive.source(name) if present else f"storage {printable(name)} is missing"
        except UnreadableError as error:
            sources[key] = str(error)
    return sources


def read_torch_legacy(path: Path, budget: Budget) -> Contents:
    """Read a file that `torch.save` wrote before 1.6, or with `_use_new_zipfile_serialization=False`."""
    with budget.share(0.8), path.open("rb") as file:
        first = read_pickle(file, budget)
        if type(first.value) is not int or first.value != _LEGACY_MAGIC:
            raise UnreadableError(_no_torch_pickle(first))
        if read_pickle(file, budget).value != _LEGACY_PROTOCOL:
            raise UnreadableError("has a format that only other versions of torch write")
        system = read_pickle(file, budget).value
        foreign = not isinstance(system, dict) or system.get("little_endian") is not True
        with budget.share(0.75):
            pickled = read_pickle(file, budget)
        sources = dict(_legacy_sources(path, file, pickled, budget)) if pickled.whole else {}
    if foreign:
        sources = dict.fromkeys(pickled.storages, _OTHER_MACHINE)
    built = ContentsBuilder(path, Format.TORCH_LEGACY)
    return _finished(built, _add_pickle(built, pickled, sources, budget))


def _no_torch_pickle(pickled: Pickled) -> str:
    message = "is a pickle, but not one that torch wrote"
    if pickled.calls:
        message += f"; refuses to call {listed(pickled.calls)}"
    if names := [name for name in pickled.names if name not in pickled.calls]:
        message += f"; it names {listed(names)}"
    return "; ".join([message, *pickled.problems[:3]])


def _legacy_sources(
    path: Path, content: BinaryIO, pickled: Pickled, budget: Budget
) -> Iterator[tuple[str, Source | str]]:
    """Storages follow the pickle, each behind its count of values."""
    keys, file_size = read_pickle(content, budget), path.stat().st_size
    if not keys.whole or not isinstance(keys.value, list):
        pickled.note(f"bytes {content.tell()} to the end: the list of storages is truncated or damaged")
        return
    for key in keys.value:
        budget.work(4)
        storage = pickled.storages.get(key) if isinstance(key, str) else None
        if storage is None:
            pickled.note("it lists a storage that no tensor has: where the following ones begin cannot be told")
            return
        begin, name = content.tell() + 8, printable(storage.key)
        if begin > file_size:
            pickled.note(f"storage {name} and those behind it lie beyond the end of the file, byte {file_size}")
            return
        if int.from_bytes(content.read(8), "little") != storage.numel:
            pickled.note(f"storage {name} at byte {begin} has another size than its tensors")
            return
        size = storage.numel * (1 if storage.dtype is None else _item(storage.dtype))
        yield storage.key, FileBytes.of(path, begin, size, file_size)
        content.seek(min(begin + size, file_size))


def _item(dtype: str) -> int:
    return ITEM_SIZES[QUANTIZED.get(dtype, dtype)]


def _add_pickle(
    built: ContentsBuilder, pickled: Pickled, sources: Sources, budget: Budget, where: str | None = None
) -> PickledParts:
    """Add what a pickle holds.

    Args:
        where: State dict that takes all its tensors, and nothing else is added; None for one at each path.
    """
    with budget.share(0.5 if where is None else 1.0):
        parts = sort_pickled(pickled.value, budget)
    built.problems += [*pickled.problems, *([parts.problem] if parts.problem else [])]
    built.refused.update(pickled.names)
    built.calls.update(pickled.calls)
    try:
        for path, tensors in parts.state_dicts.items():
            inside = built.state_dicts.setdefault(path if where is None else where, {})
            for name, tensor in tensors.items():
                if where is not None:
                    budget.memory(4 * (len(path) + len(name)))
                    name = f"{path}.{name}" if path else name
                inside[name] = _info(tensor, sources, budget)
    except UnreadableError as error:
        built.problems.append(str(error))
    return parts


def _finished(built: ContentsBuilder, parts: PickledParts) -> Contents:
    """The contents, with the state dict that is the model, its configuration and all plain values."""
    candidates = [path for path in built.state_dicts if path not in parts.optimizers and path != _CONSTANTS]
    built.main = main_path(candidates)
    others = [path for path in candidates if path != ""]
    numbers = built.main == "" and all(info.shape in ((), (1,)) for info in built.state_dicts[""].values())
    if others and (numbers or built.main is None):
        # Under no name that is known; single numbers at the top are no model.
        built.main = max(others, key=lambda path: sum(info.nbytes for info in built.state_dicts[path].values()))
        if len(others) > 1:
            largest = f"'{shortened(built.main)}' is the largest"
            built.notes.append(f"which of its {len(others)} state dicts is the model is not said: {largest}")
    values: Mapping[str, Json] = {"value": parts.values} if parts.values else {}
    if isinstance(parts.values, dict):
        values = parts.values
    built.is_module = parts.modules
    built.metadata |= values
    configs = (values.get(key) for key in _CONFIG_KEYS)
    built.config = next((config for config in configs if isinstance(config, dict) and config), None)
    built.report()
    return built.build()


def _info(tensor: AnyTensor, sources: Sources, budget: Budget) -> TensorInfo:
    budget.tensor(len(tensor.size))
    if isinstance(tensor, OddTensor):
        return TensorInfo(tensor.size, tensor.dtype, 0, tensor.problem, tensor.unsupported)
    stored = _stored(tensor, sources)
    if isinstance(stored, str):
        dtype = QUANTIZED.get(tensor.dtype, tensor.dtype)
        return TensorInfo(tensor.size, printable(dtype), math.prod(tensor.size) * ITEM_SIZES.get(dtype, 0), stored)
    quantization = _quantization(tensor.quantizer, sources, budget) if tensor.quantizer else None
    return TensorInfo.of(stored, printable(tensor.dtype), quantization)


def _stored(view: TensorView, sources: Sources) -> StoredTensor | str:
    key, dtype = view.storage.key, view.storage.dtype
    source = sources.get(key, f"storage {printable(key)} is missing")
    if isinstance(source, str):
        return source
    if dtype is not None and source.size != view.storage.numel * _item(dtype):
        return f"has a storage of {source.size} bytes where {view.storage.numel} values of {dtype} should be"
    return StoredTensor(source, QUANTIZED.get(view.dtype, view.dtype), view.size, view.stride, view.offset)


def _quantization(quantizer: Quantizer, sources: Sources, budget: Budget) -> dict[str, Any]:
    return {
        "scheme": printable(quantizer.scheme),
        "scale": _numbers(quantizer.scale, sources, budget),
        "zero_point": _numbers(quantizer.zero_point, sources, budget),
        **({} if quantizer.axis is None else {"axis": quantizer.axis}),
    }


def _numbers(value: float | TensorView, sources: Sources, budget: Budget) -> Any:
    if not isinstance(value, TensorView):
        return value
    stored = _stored(value, sources)
    readable = not isinstance(stored, str) and TensorInfo.of(stored).stored
    if not readable or len(readable.shape) != 1 or readable.shape[0] > _MOST_SCALES:
        return "cannot be read"
    source, count = readable.source, readable.shape[0]
    if isinstance(source, UnpackedBytes):
        budget.work(source.size // 512, source.size)
    budget.work(50 + count, 64 * count)
    from model_zoo.checkpoints.values import read_values

    return read_values(readable).tolist()
