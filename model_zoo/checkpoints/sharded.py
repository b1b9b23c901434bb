"""A checkpoint in several files, with an index that says which tensor is in which."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from model_zoo.checkpoints.budget import Budget, SpentError
from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.stored_tensor import Opened, StoredTensor, UnreadableError, tensor_problems
from model_zoo.checkpoints.untrusted_json import read_json

MAX_INDEX_BYTES = 32 * 2**20
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
    shown = printable(name)
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise UnreadableError(f"names the file '{shown}', which is outside its folder")
    path = folder / name
    try:
        target, home = path.resolve(strict=True), folder.resolve()
        mode = target.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreadableError(f"its file {shown} is missing") from error
    # The cache of the Hugging Face hub links snapshots/<commit>/<file> to blobs/<digest>.
    hub = home.parent.name == "snapshots" and target.parent == home.parents[1] / "blobs"
    if not target.is_relative_to(home) and not hub:
        raise UnreadableError(f"its file {shown} is a link to {printable(str(target))}, outside its folder")
    if not stat.S_ISREG(mode):
        raise UnreadableError(f"its file {shown} is no plain file")
    return path


@dataclass
class _Shards:
    """The files that an index names.

    Args:
        files: By each name in the index. A file of several names is opened once.
        parts: The same, without its other names.
        bad: Why others cannot be read.
    """

    files: dict[str, Opened] = field(default_factory=dict)
    parts: dict[str, Opened] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)


def _open_shards(folder: Path, names: list[str], open_file: Callable[[Path], Opened], budget: Budget) -> _Shards:
    shards = _Shards()
    opened: dict[Path, Opened] = {}
    for name in names:
        budget.work(_MEMBER_STEPS + len(name) // 8)
        budget.memory(4 * len(name))
        try:
            path = member(folder, name)
            target = path.resolve()
            if target not in opened:
                opened[target] = shards.parts[name] = open_file(path)
            shards.files[name] = opened[target]
        except SpentError:
            raise
        except (UnreadableError, OSError) as error:
            shards.bad[name] = str(error)
    return shards


def open_sharded(index: Path, open_file: Callable[[Path], Opened], budget: Budget) -> Opened:
    """Read a checkpoint by its index.

    Args:
        open_file: Reads one of its files.

    Raises:
        UnreadableError: The index cannot be read.
    """
    content = read_json(index, MAX_INDEX_BYTES, budget)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(file, str) for file in names.values()):
        raise UnreadableError("is no index of a sharded checkpoint: it has no weight_map")
    files = list(dict.fromkeys(names.values()))
    if len(files) > _MOST_SHARDS:
        raise UnreadableError(f"names {len(files)} files")
    shards = _open_shards(index.parent, files, open_file, budget)
    infos, places, missing = _gathered(names, shards, budget)
    problems, notes = _said(names, shards)
    about = content.get("metadata")
    parts = shards.parts.values()
    contents = Contents(
        path=index,
        format=Format.TORCH_SHARDED if index.name.endswith(".bin.index.json") else Format.SAFETENSORS_SHARDED,
        nbytes=sum(part.contents.nbytes for part in parts) + index.stat().st_size,
        state_dicts={"": infos} if infos else {},
        main="" if infos else None,
        metadata={**(about if isinstance(about, dict) else {}), "files": [printable(file) for file in files]},
        refused=tuple(dict.fromkeys(name for part in parts for name in part.contents.refused)),
        calls=tuple(dict.fromkeys(name for part in parts for name in part.contents.calls)),
        problems=(*problems, *tensor_problems({"": missing})[0]),
        notes=tuple(notes),
    )
    return Opened(contents, {"": places})


def _gathered(
    names: dict[str, str], shards: _Shards, budget: Budget
) -> tuple[dict[str, TensorInfo], dict[str, StoredTensor], dict[str, TensorInfo]]:
    """All tensors of the index, the places of those that can be read, and those that are not where it puts them."""
    infos: dict[str, TensorInfo] = {}
    places: dict[str, StoredTensor] = {}
    missing: dict[str, TensorInfo] = {}
    for name, file in names.items():
        budget.tensor(0)
        part = shards.files.get(file)
        if part is not None and name in part.contents.tensors:
            infos[name] = part.contents.tensors[name]
            kept = part.places[part.contents.main or ""]
            if name in kept:
                places[name] = kept[name]
            continue
        where = "is in {}, which cannot be read" if part is None else "is not in {}, where the index puts it"
        infos[name] = missing[name] = TensorInfo((), "unknown", 0, where.format(printable(file)))
    return infos, places, missing


def _said(names: dict[str, str], shards: _Shards) -> tuple[list[str], list[str]]:
    """What is wrong with single files, and what is worth knowing of them."""
    problems = [f"{printable(file)}: {reason}" for file, reason in shards.bad.items()]
    notes: list[str] = []
    for file, part in shards.parts.items():
        problems += [f"{printable(file)}: {problem}" for problem in part.contents.problems]
        notes += [f"{printable(file)}: {note}" for note in part.contents.notes]
        extra = [name for name in part.contents.tensors if shards.files.get(names.get(name, "")) is not part]
        notes += [f"'{printable(name)}' of {printable(file)} is not in the index" for name in extra]
    return problems, notes
