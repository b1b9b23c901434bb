"""From a pickle that was read as data to what the file holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget
from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.dtypes import ITEM_SIZES, QUANTIZED
from model_zoo.checkpoints.inert_pickle import Pickled
from model_zoo.checkpoints.inert_values import (
    AnyTensor,
    Json,
    OddTensor,
    Quantizer,
    Storage,
    TensorView,
    printable,
    shortened,
)
from model_zoo.checkpoints.nested import find_state_dicts, main_path
from model_zoo.checkpoints.stored_tensor import (
    FileBytes,
    Opened,
    StoredTensor,
    UnpackedBytes,
    UnreadableError,
    describe,
    tensor_problems,
)

FindStorage = Callable[[Storage], FileBytes | UnpackedBytes | str]

#: Where a checkpoint keeps what its architecture was made from, best first.
_CONFIG_KEYS = ("config", "model_config", "model_args", "hyper_parameters", "cfg", "args", "hparams", "opt")
#: Scales of a quantized tensor that are told one by one.
_MOST_SCALES = 100_000


def open_pickled(
    path: Path,
    format: Format,
    found: Pickled,
    find: FindStorage,
    metadata: Mapping[str, Any],
    budget: Budget,
    constants: tuple[Pickled, FindStorage] | None = None,
) -> Opened:
    """What a file of pickled tensors holds.

    Args:
        find: Where the values of a storage are, or why they are not there.
        metadata: What the file says beside its pickle.
        constants: The other pickle of TorchScript.
    """
    with budget.share(0.5):
        nested = find_state_dicts(found.value, budget)
    problems = [*found.problems, *nested.problems]
    names, calls = dict(found.names), dict(found.calls)
    infos: dict[str, dict[str, TensorInfo]] = {}
    places: dict[str, dict[str, StoredTensor]] = {}
    try:
        for where, tensors in nested.state_dicts.items():
            _locate(tensors, find, budget, infos.setdefault(where, {}), places.setdefault(where, {}))
        if constants is not None:
            more = find_state_dicts(constants[0].value, budget)
            problems += [*constants[0].problems, *more.problems]
            names, calls = names | constants[0].names, calls | constants[0].calls
            if tensors := _flat(more.state_dicts, budget):
                _locate(
                    tensors, constants[1], budget, infos.setdefault("constants", {}), places.setdefault("constants", {})
                )
    except UnreadableError as error:
        problems.append(str(error))
    damaged, unsupported = tensor_problems(infos)
    candidates = [where for where in infos if where not in nested.optimizers and where != "constants"]
    main, notes = _main(infos, candidates)
    values = nested.values if isinstance(nested.values, dict) else {} if not nested.values else {"value": nested.values}
    contents = Contents(
        path=path,
        format=format,
        nbytes=path.stat().st_size,
        state_dicts=infos,
        main=main,
        is_module=nested.modules,
        config=_config(values),
        metadata={**metadata, **values},
        refused=tuple(names),
        calls=tuple(calls),
        problems=(*problems, *damaged),
        notes=(*notes, *unsupported),
    )
    return Opened(contents, places)


def _main(infos: Mapping[str, Mapping[str, TensorInfo]], candidates: list[str]) -> tuple[str | None, tuple[str, ...]]:
    known = main_path(candidates)
    others = [where for where in candidates if where != ""]
    if known or not others:
        return known, ()
    if known == "" and not all(info.shape in ((), (1,)) for info in infos[""].values()):
        return known, ()
    # Under no name that is known; single numbers at the top are no model.
    largest = max(others, key=lambda where: sum(info.nbytes for info in infos[where].values()))
    if len(others) == 1:
        return largest, ()
    return largest, (
        f"which of its {len(others)} state dicts is the model is not said: '{shortened(largest)}' is the largest",
    )


def _config(values: Mapping[str, Json]) -> Mapping[str, Any] | None:
    for key in _CONFIG_KEYS:
        if isinstance(found := values.get(key), dict) and found:
            return found
    return None


def _flat(state_dicts: Mapping[str, Mapping[str, AnyTensor]], budget: Budget) -> dict[str, AnyTensor]:
    made: dict[str, AnyTensor] = {}
    for path, tensors in state_dicts.items():
        for name, tensor in tensors.items():
            budget.memory(4 * (len(path) + len(name)))
            made[f"{path}.{name}" if path else name] = tensor
    return made


def _locate(
    tensors: Mapping[str, AnyTensor],
    find: FindStorage,
    budget: Budget,
    infos: dict[str, TensorInfo],
    places: dict[str, StoredTensor],
) -> None:
    """Add tensors and their places to those of a state dict."""
    for name, tensor in tensors.items():
        budget.tensor(len(tensor.size))
        if isinstance(tensor, OddTensor):
            infos[name] = TensorInfo(tensor.size, tensor.dtype, 0, tensor.problem, tensor.unsupported)
            continue
        place = _place(tensor, find)
        if isinstance(place, str):
            dtype = QUANTIZED.get(tensor.dtype, tensor.dtype)
            nothing = StoredTensor(UnpackedBytes(0, bytes), dtype, tensor.size)
            infos[name] = replace(describe(nothing), problem=place, unsupported=False)
            continue
        quantization = _quantization(tensor.quantizer, find, budget) if tensor.quantizer else None
        infos[name] = describe(place, printable(tensor.dtype), quantization)
        if infos[name].problem is None:
            places[name] = place


def _place(view: TensorView, find: FindStorage) -> StoredTensor | str:
    source = find(view.storage)
    if isinstance(source, str):
        return source
    stored = view.storage.dtype
    if stored is not None and source.size != view.storage.numel * ITEM_SIZES[QUANTIZED.get(stored, stored)]:
        return f"has a storage of {source.size} bytes where {view.storage.numel} values of {stored} should be"
    return StoredTensor(source, QUANTIZED.get(view.dtype, view.dtype), view.size, view.stride, view.offset)


def _quantization(quantizer: Quantizer, find: FindStorage, budget: Budget) -> dict[str, Any]:
    return {
        "scheme": printable(quantizer.scheme),
        "scale": _numbers(quantizer.scale, find, budget),
        "zero_point": _numbers(quantizer.zero_point, find, budget),
        **({} if quantizer.axis is None else {"axis": quantizer.axis}),
    }


def _numbers(value: float | TensorView, find: FindStorage, budget: Budget) -> Any:
    """The numbers of a small tensor."""
    if not isinstance(value, TensorView):
        return value
    place = _place(value, find)
    if isinstance(place, str) or describe(place).problem or len(place.shape) != 1 or place.shape[0] > _MOST_SCALES:
        return "cannot be read"
    if not isinstance(place.source, FileBytes):
        budget.work(place.source.size // 512)
        budget.memory(place.source.size)
    budget.work(50 + place.shape[0])
    budget.memory(64 * place.shape[0])
    from model_zoo.checkpoints.values import read_values

    return read_values(place).tolist()
