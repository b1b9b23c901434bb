"""A checkpoint in several files, with an index that says which tensor is in which."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.places import Opened, Place, UnreadableError, tensor_problems
from model_zoo.checkpoints.untrusted_json import read_json

MAX_INDEX_BYTES = 32 * 2**20
_MOST_SHARDS = 10_000


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
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    except (OSError, RuntimeError) as error:
        raise UnreadableError(f"its file {shown} is missing") from error
    inside = target.is_relative_to(folder.resolve())
    # The cache of the Hugging Face hub links snapshots/<commit>/<file> to blobs/<digest>.
    hub = folder.resolve().parent.name == "snapshots" and target.parent == folder.resolve().parents[1] / "blobs"
    if not inside and not hub:
        raise UnreadableError(f"its file {shown} is a link to {target}, outside its folder")
    if not stat.S_ISREG(mode):
        raise UnreadableError(f"its file {shown} is no plain file")
    return path


def open_sharded(index: Path, open_file: Callable[[Path], Opened]) -> Opened:
    """Read a checkpoint by its index.

    Args:
        open_file: Reads one of its files.

    Raises:
        UnreadableError: The index cannot be read.
    """
    content = read_json(index, MAX_INDEX_BYTES)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(file, str) for file in names.values()):
        raise UnreadableError("is no index of a sharded checkpoint: it has no weight_map")
    files = list(dict.fromkeys(names.values()))
    if len(files) > _MOST_SHARDS:
        raise UnreadableError(f"names {len(files)} files")
    opened: dict[str, Opened] = {}
    bad: dict[str, str] = {}
    for file in files:
        try:
            opened[file] = open_file(member(index.parent, file))
        except UnreadableError as error:
            bad[file] = str(error)
    infos: dict[str, TensorInfo] = {}
    places: dict[str, Place] = {}
    for name, file in names.items():
        inside = opened[file].contents.tensors if file in opened else {}
        if name in inside:
            infos[name] = inside[name]
            main = opened[file].contents.main
            if main is not None and name in opened[file].places[main]:
                places[name] = opened[file].places[main][name]
        elif file in opened:
            infos[name] = TensorInfo((), "unknown", 0, f"is not in {printable(file)}, where the index puts it")
        else:
            infos[name] = TensorInfo((), "unknown", 0, f"is in {printable(file)}, which cannot be read")
    missing = {
        name: infos[name] for name, file in names.items() if file in bad or name not in opened[file].contents.tensors
    }
    problems = [f"{printable(file)}: {reason}" for file, reason in bad.items()]
    problems += tensor_problems({"": missing})[0]
    notes: list[str] = []
    for file, part in opened.items():
        problems += [f"{printable(file)}: {problem}" for problem in part.contents.problems]
        notes += [f"{printable(file)}: {note}" for note in part.contents.notes]
        extra = [name for name in part.contents.tensors if names.get(name) != file]
        notes += [f"'{printable(name)}' of {printable(file)} is not in the index" for name in extra]
    about = content.get("metadata")
    sizes = sum(part.contents.nbytes for part in opened.values())
    contents = Contents(
        path=index,
        format=Format.TORCH_SHARDED if index.name.endswith(".bin.index.json") else Format.SAFETENSORS_SHARDED,
        nbytes=sizes + index.stat().st_size,
        state_dicts={"": infos} if infos else {},
        main="" if infos else None,
        metadata={**(about if isinstance(about, dict) else {}), "files": [printable(file) for file in files]},
        refused=tuple(dict.fromkeys(name for part in opened.values() for name in part.contents.refused)),
        calls=tuple(dict.fromkeys(name for part in opened.values() for name in part.contents.calls)),
        problems=tuple(problems),
        notes=tuple(notes),
    )
    return Opened(contents, {"": places})
