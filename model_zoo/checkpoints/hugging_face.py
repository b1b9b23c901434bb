"""Folders as the Hugging Face hub has them: weights, configuration, tokenizer, and perhaps models in folders below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, SpentError, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format
from model_zoo.checkpoints.sharded import is_index, member, weight_map
from model_zoo.checkpoints.untrusted_json import read_json
from model_zoo.utils.text import printable

_MOST_CONFIG_BYTES = 16 * 2**20
_MOST_TOKENIZER_BYTES = 64 * 2**20
_MOST_FILES = 10_000

#: Weights in a folder, those first that the official loaders take first.
_PREFERRED = (
    *("model.safetensors", "model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
    *("adapter_model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".tflite", ".npz", ".pt2")
_CONFIGS = ("config.json", "model_index.json", "adapter_config.json")
_OTHER_JSON = ("generation_config.json", "tokenizer_config.json", "preprocessor_config.json", "special_tokens_map.json")


def read_folder(folder: Path, read_file: Callable[[Path], Contents], budget: Budget) -> Contents:
    """Read all weights of a folder, and what stands beside them.

    Args:
        read_file: Reads one of its files.
    """
    weights = _weights(folder, budget)
    if not weights:
        kinds = ", ".join(_SUFFIXES)
        raise UnreadableError(
            f"is a folder without weights: no file in it ends in {kinds}", "give the folder of a model"
        )
    built = ContentsBuilder(folder, Format.HUGGING_FACE)
    parts: dict[str, Contents] = {}
    for name in weights:
        try:
            parts[name] = read_file(member(folder, name))
        except UnreadableError as error:
            built.problems.append(f"{printable(name)}: {error}")
            if isinstance(error, SpentError):
                break
    alone = sum(bool(part.state_dicts) for part in parts.values()) == 1
    for name, part in parts.items():
        _add(built, name, part, alone, budget)
    _add_configs(folder, built, budget)
    return built.build(sum(part.nbytes for part in parts.values()))


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
            return set(weight_map(member(folder, index), budget)[0].values())
    except UnreadableError:
        return set()  # it is reported when the index itself is read


def _add(built: ContentsBuilder, name: str, part: Contents, alone: bool, budget: Budget) -> None:
    """Add a file of the folder; only the state dicts of one that is alone keep their paths."""

    def inside(path: str) -> str:
        budget.memory(4 * (len(name) + len(path)))
        if alone:
            return path
        return f"{name}:{path}" if path else name

    built.state_dicts.update({inside(path): dict(tensors) for path, tensors in part.state_dicts.items()})
    built.is_module.update({inside(path): kind for path, kind in part.is_module.items()})
    if built.main is None and part.main is not None:
        built.main = inside(part.main)
    built.add_names(part)
    built.add_lines(part, "" if alone else f"{printable(name)}: ")
    if part.metadata or part.config:
        about = {**part.metadata, **({"config": part.config} if part.config else {})}
        built.metadata[printable(name)] = {"format": str(part.format), **about}


def _add_configs(folder: Path, built: ContentsBuilder, budget: Budget) -> None:
    """Add the JSON files beside the weights."""
    for name in (*_CONFIGS, *_OTHER_JSON, "tokenizer.json"):
        if not (folder / name).exists():
            continue
        try:
            if name == "tokenizer.json":
                with budget.temporary():  # little is kept of it
                    built.metadata[name] = _tokenizer(member(folder, name), budget)
                continue
            content = read_config(folder, name, budget)
        except UnreadableError as error:
            built.problems.append(f"{name}: {error}")
            continue
        if name in _CONFIGS and built.config is None and isinstance(content, dict):
            built.config = content
        else:
            built.metadata[name] = content


def read_config(folder: Path, name: str, budget: Budget) -> Any:
    """A JSON file beside weights."""
    return read_json(member(folder, name), _MOST_CONFIG_BYTES, budget)


def _tokenizer(path: Path, budget: Budget) -> dict[str, Any]:
    content = read_json(path, _MOST_TOKENIZER_BYTES, budget)
    fields = content if isinstance(content, dict) else {}
    model, added = fields.get("model"), fields.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    return {
        "model": model.get("type") if isinstance(model, dict) else None,
        "vocabulary": len(vocabulary) if isinstance(vocabulary, (dict, list)) else None,
        "added tokens": len(added) if isinstance(added, list) else None,
    }
