"""Checkpoints in several files: those with an index that says which tensor is in which, and Hugging Face folders."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, SpentError, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format, TensorInfo
from model_zoo.checkpoints.untrusted_json import read_json
from model_zoo.utils.text import printable

_MOST_INDEX_BYTES = 32 * 2**20
_MOST_SHARDS = 10_000
#: Of finding a file by its name, links and all.
_MEMBER_STEPS = 150


def is_index(path: Path) -> bool:
    """Whether a file is the index of a sharded checkpoint, by its name: it is plain JSON."""
    return path.name.endswith((".safetensors.index.json", ".bin.index.json"))


def member(folder: Path, name: str) -> Path:
    """A plain file that an index or a model names, in the same folder or below it: it must not reach outside."""
    file = printable(name)
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise UnreadableError(f"names the file '{file}', which is outside its folder")
    path = folder / name
    try:
        target, root = path.resolve(strict=True), folder.resolve()
        mode = target.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreadableError(f"its file {file} is missing") from error
    # The cache of the Hugging Face hub links snapshots/<commit>/<file> to blobs/<digest>.
    hub = root.parent.name == "snapshots" and target.parent == root.parents[1] / "blobs"
    if not target.is_relative_to(root) and not hub:
        raise UnreadableError(f"its file {file} is a link to {printable(str(target))}, outside its folder")
    if not stat.S_ISREG(mode):
        raise UnreadableError(f"its file {file} is no plain file")
    return path


def weight_map(index: Path, budget: Budget) -> tuple[dict[str, str], object]:
    """The file of each tensor of an index, and what the index says besides."""
    content = read_json(index, _MOST_INDEX_BYTES, budget)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(file, str) for file in names.values()):
        raise UnreadableError("is no index of a sharded checkpoint: it has no weight_map")
    return names, content.get("metadata")


def read_sharded(index: Path, read_file: Callable[[Path], Contents], budget: Budget) -> Contents:
    """Read a checkpoint by its index, with a function that reads one of its files."""
    names, about = weight_map(index, budget)
    files = list(dict.fromkeys(names.values()))
    if len(files) > _MOST_SHARDS:
        raise UnreadableError(f"names {len(files)} files")
    is_torch = index.name.endswith(".bin.index.json")
    built = ContentsBuilder(index, Format.TORCH_SHARDED if is_torch else Format.SAFETENSORS_SHARDED)
    built.metadata = {**(about if isinstance(about, dict) else {}), "files": [printable(file) for file in files]}
    read: dict[Path, Contents] = {}

    def read_once(path: Path) -> Contents:  # however many names it has
        target = path.resolve()
        if target not in read:
            read[target] = read_file(path)
        return read[target]

    shards = _read_parts(index.parent, files, read_once, budget, built)
    missing: dict[str, TensorInfo] = {}
    for name, file in names.items():
        budget.tensor()
        part = shards.get(file)
        info = part.tensors.get(name) if part else None
        if info is None:
            where = "is not in {}, where the index puts it" if part else "is in {}, which cannot be read"
            info = missing[name] = TensorInfo.unreadable(where.format(printable(file)))
        built.add("", name, info)
    for file, part in {id(part): (file, part) for file, part in shards.items()}.values():
        built.add_part(part, f"{printable(file)}: ")
        extra = [name for name in part.tensors if shards.get(names.get(name, "")) is not part]
        built.notes += [f"'{printable(name)}' of {printable(file)} is not in the index" for name in extra]
    built.report({"": missing})
    built.main = "" if built.state_dicts else None
    return built.build(sum(part.nbytes for part in read.values()) + index.stat().st_size)


def _read_parts(
    folder: Path, names: list[str], read_file: Callable[[Path], Contents], budget: Budget, built: ContentsBuilder
) -> dict[str, Contents]:
    """Files of a folder by their names, as far as they can be read."""
    parts: dict[str, Contents] = {}
    for name in names:
        budget.work(_MEMBER_STEPS + len(name) // 8, 4 * len(name))
        try:
            parts[name] = read_file(member(folder, name))
        except (UnreadableError, OSError) as error:
            built.problems.append(f"{printable(name)}: {error}")
            if isinstance(error, SpentError):
                break
    return parts


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
    """Read all weights of a folder, and what is beside them, with a function that reads one of its files."""
    weights = _weights(folder, budget)
    if not weights:
        kinds = ", ".join(_SUFFIXES)
        raise UnreadableError(
            f"is a folder without weights: no file in it ends in {kinds}", "give the folder of a model"
        )
    built = ContentsBuilder(folder, Format.HUGGING_FACE)
    parts = _read_parts(folder, weights, read_file, budget, built)
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
    models = (name for name in _files(folder) if name.endswith(_SUFFIXES) or is_index(Path(name)))
    names = list(islice(models, _MOST_FILES + 1))
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
    def inside(path: str) -> str:
        budget.memory(4 * (len(name) + len(path)))
        if alone:
            return path
        return f"{name}:{path}" if path else name

    built.state_dicts.update({inside(path): dict(tensors) for path, tensors in part.state_dicts.items()})
    built.is_module.update({inside(path): kind for path, kind in part.is_module.items()})
    if built.main is None and part.main is not None:
        built.main = inside(part.main)
    built.add_part(part, "" if alone else f"{printable(name)}: ")
    if part.metadata or part.config:
        about = {**part.metadata, **({"config": part.config} if part.config else {})}
        built.metadata[printable(name)] = {"format": str(part.format), **about}


def _add_configs(folder: Path, built: ContentsBuilder, budget: Budget) -> None:
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
