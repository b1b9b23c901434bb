"""What the file is: format, names it goes by, where it claims to come from."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.explore.model_file import FileFacts
from model_zoo.workbench.explore.records import Identity, Said

ENTRY = "model.py"
_RECOVERY = "recovery.json"
_WEIGHTS = ("*.safetensors", "*.pt", "*.pth", "*.ckpt", "*.bin", "*.onnx", "*.tflite", "*.pt2", "*.npz")
_MAX_TEXT = 2**20
_MOST_NAMES = 8
_URL = re.compile(r"https?://(?:www\.)?(?:github\.com|gitlab\.com|huggingface\.co|arxiv\.org)/[\w./@%+~-]+")
_COMMIT = re.compile(r"\bcommit[ :=]+`?([0-9a-f]{7,40})\b", re.IGNORECASE)
#: What a config.json says of the architecture, and a report repeats.
_CONFIG_KEYS = (
    "architectures",
    "architecture",
    "model_type",
    "num_classes",
    "num_labels",
    "image_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "torch_dtype",
    "transformers_version",
)
_ARCHITECTURE_KEYS = ("architectures", "architecture", "model_type", "_name_or_path", "name")
#: Words in file names that say nothing of the architecture.
_EMPTY_WORDS = {"model", "weights", "checkpoint", "ckpt", "best", "last", "final", "pytorch", "state", "dict", "epoch"}


def find_weights(path: Path) -> Path:
    """The model file: the path itself, or the only one in a folder.

    Raises:
        UserError: There is none, or several.
    """
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"no file at {path}", "give the path of a checkpoint on this machine; nothing is downloaded")
    if path.is_file():
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty: zero bytes", "copy or download it again")
        return path
    found = sorted({file for pattern in _WEIGHTS for file in path.glob(pattern) if file.is_file()})
    if not found:
        raise UserError(f"the folder {path} holds no weights", f"looked for {', '.join(_WEIGHTS)}")
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:8])
        raise UserError(f"the folder {path} holds {len(found)} model files: {names}", "give the path of one of them")
    return found[0]


def find_source(asked: Path | None) -> Path | None:
    """The folder with the code of the model, which is run: never one that the user did not name.

    Raises:
        UserError: The folder asked for is missing, or has no model.py.
    """
    if asked is None:
        return None
    source = asked.expanduser()
    if not source.is_dir():
        raise UserError(f"--source {asked}: there is no such folder", "give the folder that holds model.py")
    if not (source / ENTRY).is_file():
        raise UserError(
            f"--source {asked}: there is no {ENTRY} in it",
            f"write {ENTRY} with a function build_model() that gives the torch module",
        )
    return source.resolve()


def code_beside(file: Path) -> str | None:
    """What to say of a model.py that lies beside the file and was not asked for; None if there is none.

    Raises:
        UserError: The file lies in what looks like a folder of `model-zoo recover`: to recover it again takes minutes.
    """
    if not (file.parent / ENTRY).is_file():
        return None
    command = shlex.join(["model-zoo", "explore", str(file), "--source", str(file.parent)])
    if (file.parent / _RECOVERY).is_file():
        what = f"{file} lies beside a recovered {ENTRY}, which runs only if asked for"
        raise UserError(what, f"if you trust it: {command}")
    return f"the {ENTRY} beside the file is not run; to build the model with it, if you trust it: {command}"


def identify(file: Path, facts: FileFacts, source: Path | None, origin: str | None) -> Identity:
    """Everything that file, names, config and README say.

    Args:
        origin: Source as the user claims it.
    """
    folders = [file.parent] if source is None or source == file.parent else [file.parent, source]
    problems = list(facts.problems)
    config = _read_json(file.parent / "config.json", problems)
    recovery = _read_json(source / _RECOVERY, problems) if source else {}
    problems += _not_recovered(recovery)
    names = [*_recovered(recovery), *_configured(config), *_from_name(file)]
    claimed = [Said(text=origin, where="--origin")] if origin else []
    return Identity(
        path=str(file.resolve()),
        format=str(facts.format),
        size_mb=round(file.stat().st_size / 1e6, 3),
        sha256=sha256_file(file),
        tensors=facts.tensors,
        parameters=facts.parameters,
        names=tuple(names),
        origin=(*claimed, *_claims(folders, config)),
        config={key: config[key] for key in _CONFIG_KEYS if key in config},
        code=None if source is None else str(source / ENTRY),
        recovered=_model(recovery).get("title"),
        choices=tuple(_assumed(recovery)),
        problems=tuple(problems),
    )


def _recovered(recovery: dict[str, Any]) -> Iterator[Said]:
    for key in ("title", "constructor"):
        if isinstance(text := _model(recovery).get(key), str):
            yield Said(text=text, where=f"{_RECOVERY}: {key}")


def _model(recovery: dict[str, Any]) -> dict[str, Any]:
    model = recovery.get("model")
    return model if isinstance(model, dict) else {}


def _not_recovered(recovery: dict[str, Any]) -> Iterator[str]:
    left = recovery.get("not_recovered")
    for what, names in left.items() if isinstance(left, dict) else ():
        if isinstance(names, list) and names:
            shown = ", ".join(map(str, names[:_MOST_NAMES]))
            yield f"recovered in part: {what} tensors: {shown}{' …' if len(names) > _MOST_NAMES else ''}"


def _assumed(recovery: dict[str, Any]) -> Iterator[str]:
    """Choices that nothing settled."""
    for choice in recovery.get("choices", []):
        if isinstance(choice, dict) and choice.get("settled_by") == "assumed":
            yield f"{choice.get('meaning') or choice.get('name')}: {choice.get('value')}"


def _configured(config: dict[str, Any]) -> Iterator[Said]:
    for key in _ARCHITECTURE_KEYS:
        value = config.get(key)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text:
                yield Said(text=text[:200], where=f"config.json: {key}")


def _from_name(file: Path) -> Iterator[Said]:
    for stem, where in ((file.stem, "file name"), (file.parent.resolve().name, "folder name")):
        words = [word for word in re.split(r"[^A-Za-z0-9]+", stem) if word]
        if any(word.lower() not in _EMPTY_WORDS and not word.isdigit() for word in words):
            yield Said(text=stem, where=where)


def _claims(folders: list[Path], config: dict[str, Any]) -> Iterator[Said]:
    """Addresses and commits in the README and the config beside file and code."""
    seen = set[str]()
    name = config.get("_name_or_path")
    if isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        yield Said(text=name, where="config.json: _name_or_path")
    for folder in folders:
        for file in sorted(folder.glob("README*")):
            if not file.is_file():
                continue
            with file.open(encoding="utf-8", errors="replace") as opened:
                text = opened.read(_MAX_TEXT)
            for found in (*_URL.findall(text)[:5], *(f"commit {each}" for each in _COMMIT.findall(text)[:2])):
                if (claim := found.rstrip("./")) not in seen:
                    seen.add(claim)
                    yield Said(text=claim, where=file.name)


def _read_json(file: Path, problems: list[str]) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        if file.stat().st_size > _MAX_TEXT:
            raise ValueError("it is larger than 1 MiB")
        value = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        return value
    except (ValueError, RecursionError, OSError) as error:
        problems.append(f"{file.name} cannot be read: {str(error).splitlines()[0]}")
        return {}
