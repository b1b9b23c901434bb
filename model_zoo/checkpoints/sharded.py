"""A checkpoint in several files, with an index that says which tensor is in which."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

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
    """A file that an index or a model names, in the same folder or below it.

    Raises:
        UnreadableError: It is missing, no plain file, or elsewhere: a foreign file must not reach outside its folder.
    """
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
    """Read a checkpoint by its index.

    Args:
        read_file: Reads one of its files.
    """
    names, about = weight_map(index, budget)
    files = list(dict.fromkeys(names.values()))
    if len(files) > _MOST_SHARDS:
        raise UnreadableError(f"names {len(files)} files")
    is_torch = index.name.endswith(".bin.index.json")
    built = ContentsBuilder(index, Format.TORCH_SHARDED if is_torch else Format.SAFETENSORS_SHARDED)
    built.metadata = {**(about if isinstance(about, dict) else {}), "files": [printable(file) for file in files]}
    shards = _read_shards(index.parent, files, read_file, budget, built)
    missing: dict[str, TensorInfo] = {}
    for name, file in names.items():
        budget.tensor()
        part = shards.get(file)
        info = part.tensors.get(name) if part else None
        if info is None:
            where = "is not in {}, where the index puts it" if part else "is in {}, which cannot be read"
            info = missing[name] = TensorInfo.unreadable(where.format(printable(file)))
        built.add("", name, info)
    parts: dict[int, tuple[str, Contents]] = {}
    for file, part in shards.items():
        parts.setdefault(id(part), (file, part))
    for file, part in parts.values():
        built.add_names(part)
        built.add_lines(part, f"{printable(file)}: ")
        extra = [name for name in part.tensors if shards.get(names.get(name, "")) is not part]
        built.notes += [f"'{printable(name)}' of {printable(file)} is not in the index" for name in extra]
    built.report({"": missing})
    built.main = "" if built.state_dicts else None
    return built.build(sum(part.nbytes for _, part in parts.values()) + index.stat().st_size)


def _read_shards(
    folder: Path, names: list[str], read_file: Callable[[Path], Contents], budget: Budget, built: ContentsBuilder
) -> dict[str, Contents]:
    """The files that an index names, by each name; a file of several names is read once."""
    shards: dict[str, Contents] = {}
    read: dict[Path, Contents] = {}
    for name in names:
        budget.work(_MEMBER_STEPS + len(name) // 8)
        budget.memory(4 * len(name))
        try:
            path = member(folder, name)
            target = path.resolve()
            if target not in read:
                read[target] = read_file(path)
            shards[name] = read[target]
        except SpentError:
            raise
        except (UnreadableError, OSError) as error:
            built.problems.append(f"{printable(name)}: {error}")
    return shards
