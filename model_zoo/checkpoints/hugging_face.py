"""Folders as the Hugging Face hub has them: weights, configuration, tokenizer, and perhaps models in folders below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, SpentError
from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.sharded import MAX_INDEX_BYTES, is_index, member
from model_zoo.checkpoints.stored_tensor import Opened, StoredTensor, UnreadableError
from model_zoo.checkpoints.untrusted_json import read_json

_MAX_CONFIG_BYTES = 16 * 2**20
_MAX_TOKENIZER_BYTES = 64 * 2**20
_MOST_FILES = 10_000

#: Weights in a folder, those first that the official loaders take first.
_PREFERRED = (
    *("model.safetensors", "model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
    *("adapter_model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".tflite", ".npz", ".pt2")
_CONFIGS = ("config.json", "model_index.json", "adapter_config.json")
_OTHER_JSON = ("generation_config.json", "tokenizer_config.json", "preprocessor_config.json", "special_tokens_map.json")


@dataclass
class _Found:
    state_dicts: dict[str, dict[str, TensorInfo]] = field(default_factory=dict)
    places: dict[str, dict[str, StoredTensor]] = field(default_factory=dict)
    is_module: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    main: str | None = None
    nbytes: int = 0


def open_folder(folder: Path, open_file: Callable[[Path], Opened], budget: Budget) -> Opened:
    """Read all weights of a folder, and what stands beside them.

    Args:
        open_file: Reads one of its files.

    Raises:
        UnreadableError: There are no weights in it.
    """
    weights = _weights(folder, budget)
    if not weights:
        kinds = ", ".join(_SUFFIXES)
        raise UnreadableError(
            f"is a folder without weights: no file in it ends in {kinds}", "give the folder of a model"
        )
    found = _Found()
    opened: dict[str, Opened] = {}
    for name in weights:
        try:
            opened[name] = open_file(member(folder, name))
        except SpentError as error:
            found.problems.append(f"{printable(name)}: {error}")
            break
        except UnreadableError as error:
            found.problems.append(f"{printable(name)}: {error}")
    alone = sum(bool(each.contents.state_dicts) for each in opened.values()) == 1
    for name, each in opened.items():
        _add(found, name, each, alone, budget)
    config = _configs(folder, found, budget)
    contents = Contents(
        path=folder,
        format=Format.HUGGING_FACE,
        nbytes=found.nbytes,
        state_dicts=found.state_dicts,
        main=found.main,
        is_module=found.is_module,
        config=config,
        metadata=found.metadata,
        refused=tuple(found.refused),
        calls=tuple(found.calls),
        problems=tuple(found.problems),
        notes=tuple(found.notes),
    )
    return Opened(contents, found.places)


def _files(folder: Path) -> Iterator[str]:
    """Names of the files in a folder and in those right below it."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from (f"{path.name}/{inner.name}" for inner in sorted(path.iterdir()) if not inner.is_dir())
        elif not path.is_dir():
            yield path.name


def _weights(folder: Path, budget: Budget) -> list[str]:
    names = []
    for name in _files(folder):
        if name.endswith(_SUFFIXES) or is_index(Path(name)):
            names.append(name)
        if len(names) > _MOST_FILES:
            raise UnreadableError(f"is a folder with more than {_MOST_FILES} files of weights")
    shards = {
        f"{Path(name).parent}/{file}".removeprefix("./")
        for name in names
        if is_index(Path(name))
        for file in _shards(folder, name, budget)
    }
    return sorted((name for name in names if name not in shards), key=_rank)


def _rank(name: str) -> tuple[int, int, str]:
    file = Path(name).name
    return name.count("/"), _PREFERRED.index(file) if file in _PREFERRED else len(_PREFERRED), name


def _shards(folder: Path, index: str, budget: Budget) -> set[str]:
    try:
        with budget.temporary():
            content = read_json(member(folder, index), MAX_INDEX_BYTES, budget)
    except UnreadableError:
        return set()  # it is said when the index is opened
    names = content.get("weight_map") if isinstance(content, dict) else None
    return {file for file in names.values() if isinstance(file, str)} if isinstance(names, dict) else set()


def _add(found: _Found, name: str, opened: Opened, alone: bool, budget: Budget) -> None:
    contents = opened.contents

    def place(path: str) -> str:
        budget.memory(4 * (len(name) + len(path)))
        if alone:
            return path
        return f"{name}:{path}" if path else name

    for path, tensors in contents.state_dicts.items():
        found.state_dicts[place(path)] = dict(tensors)
        found.places[place(path)] = dict(opened.places[path])
    found.is_module.update({place(path): kind for path, kind in contents.is_module.items()})
    if found.main is None and contents.main is not None:
        found.main = place(contents.main)
    found.nbytes += contents.nbytes
    found.refused.update(dict.fromkeys(contents.refused))
    found.calls.update(dict.fromkeys(contents.calls))
    said = "" if alone else f"{printable(name)}: "
    found.problems += [f"{said}{problem}" for problem in contents.problems]
    found.notes += [f"{said}{note}" for note in contents.notes]
    if contents.metadata or contents.config:
        about = {**contents.metadata, **({"config": contents.config} if contents.config else {})}
        found.metadata[printable(name)] = {"format": str(contents.format), **about}


def _configs(folder: Path, found: _Found, budget: Budget) -> dict[str, Any] | None:
    """Put the JSON files beside the weights where they belong."""
    config: dict[str, Any] | None = None
    for name in (*_CONFIGS, *_OTHER_JSON):
        if not (folder / name).exists():
            continue
        try:
            content = read_config(folder, name, budget)
        except UnreadableError as error:
            found.problems.append(f"{name}: {error}")
            continue
        if name in _CONFIGS and config is None and isinstance(content, dict):
            config = content
        else:
            found.metadata[name] = content
    if (folder / "tokenizer.json").exists():
        try:
            with budget.temporary():  # little is kept of it
                found.metadata["tokenizer.json"] = _tokenizer(member(folder, "tokenizer.json"), budget)
        except UnreadableError as error:
            found.problems.append(f"tokenizer.json: {error}")
    return config


def read_config(folder: Path, name: str, budget: Budget) -> Any:
    """A JSON file beside weights.

    Raises:
        UnreadableError: It is no plain file of the folder, too large, or no JSON.
    """
    return read_json(member(folder, name), _MAX_CONFIG_BYTES, budget)


def _tokenizer(path: Path, budget: Budget) -> dict[str, Any]:
    content = read_json(path, _MAX_TOKENIZER_BYTES, budget)
    model = content.get("model") if isinstance(content, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    added = content.get("added_tokens") if isinstance(content, dict) else None
    return {
        "model": model.get("type") if isinstance(model, dict) else None,
        "vocabulary": len(vocabulary) if isinstance(vocabulary, (dict, list)) else None,
        "added tokens": len(added) if isinstance(added, list) else None,
    }
