"""What a model file is: its format, how it is run, its names, and its claimed source."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydantic

from model_zoo.checkpoints.budget import Budget, UnreadableError
from model_zoo.checkpoints.contents import Contents, Format
from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.checkpoints.untrusted_json import read_json
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.explore.loaded_model import ModelInput
from model_zoo.workbench.explore.program import read_program
from model_zoo.workbench.explore.records import Claim, Identity

#: What runs a format, as the child process names it, and the packages that it takes.
RUNNERS: dict[Format, tuple[str, tuple[str, ...]]] = {
    Format.ONNX: ("onnx", ("onnxruntime", "onnx")),
    Format.TFLITE: ("tflite", ("ai-edge-litert",)),
    Format.PT2: ("program", ("torch",)),
    Format.TORCHSCRIPT: ("torchscript", ("torch",)),
}
#: What runs any file of weights: the code of a folder.
SOURCE_RUNNER = ("source", ("torch",))
ENTRY, RECOVERY = "model.py", "recovery.json"
_WEIGHTS = ("*.safetensors", "*.pt", "*.pth", "*.ckpt", "*.bin", "*.onnx", "*.tflite", "*.pt2", "*.npz")
_MAX_TEXT = 2**20
_MOST_NAMES = 8
_URL = re.compile(r"https?://(?:www\.)?(?:github\.com|gitlab\.com|huggingface\.co|arxiv\.org)/[\w./@%+~-]+")
_COMMIT = re.compile(r"\bcommit[ :=]+`?([0-9a-f]{7,40})\b", re.IGNORECASE)
_ARCHITECTURE_KEYS = ("architectures", "architecture", "model_type", "_name_or_path", "name")
#: What a config.json says of the architecture, and a report repeats.
_CONFIG_KEYS = (
    *("architectures", "architecture", "model_type", "num_classes", "num_labels", "image_size", "hidden_size"),
    *("num_hidden_layers", "num_attention_heads", "vocab_size", "torch_dtype", "transformers_version"),
)
#: Words in file names that say nothing of the architecture.
_EMPTY_WORDS = {"model", "weights", "checkpoint", "ckpt", "best", "last", "final", "pytorch", "state", "dict", "epoch"}


class _RecoveredModel(pydantic.BaseModel):
    title: str | None = None
    constructor: str | None = None


class _RecoveredChoice(pydantic.BaseModel):
    name: str
    value: Any
    meaning: str = ""
    settled_by: str = ""


class RecoveryFacts(pydantic.BaseModel):
    """What a recovery.json says, as far as it matters here."""

    model: _RecoveredModel = _RecoveredModel()
    choices: tuple[_RecoveredChoice, ...] = ()
    not_recovered: dict[str, tuple[str, ...]] = {}
    inputs: tuple[ModelInput, ...] = ()


def find_weights(path: Path) -> Path:
    """Return the model file: the path itself, or the only one in a folder; raises UserError if it is not one."""
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"no file at {path}", "give the path of a checkpoint on this machine; nothing is downloaded")
    if path.is_file():
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty: zero bytes", "copy or download it again")
        return path
    files = sorted({file for pattern in _WEIGHTS for file in path.glob(pattern) if file.is_file()})
    if not files:
        raise UserError(f"the folder {path} holds no weights", f"looked for {', '.join(_WEIGHTS)}")
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:8])
        raise UserError(f"the folder {path} holds {len(files)} model files: {names}", "give the path of one of them")
    return files[0]


def find_source(asked: Path | None) -> Path | None:
    """Return the folder with the code of the model, which is run: never one that the user did not name."""
    if asked is None:
        return None
    source = asked.expanduser()
    if not source.is_dir():
        raise UserError(f"--source {asked}: there is no such folder", "give the folder that holds model.py")
    if not (source / ENTRY).is_file():
        hint = f"write {ENTRY} with a function build_model() that gives the torch module"
        raise UserError(f"--source {asked}: there is no {ENTRY} in it", hint)
    return source.resolve()


def code_beside(file: Path) -> str | None:
    """Say what to do with a model.py that lies beside the file and was not asked for; None if there is none.

    Raises:
        UserError: The file lies in what looks like a folder of `model-zoo recover`: to recover it again takes minutes.
    """
    if not (file.parent / ENTRY).is_file():
        return None
    command = shlex.join(["model-zoo", "explore", str(file), "--source", str(file.parent)])
    if (file.parent / RECOVERY).is_file():
        problem = f"{file} lies beside a recovered {ENTRY}, which runs only if asked for"
        raise UserError(problem, f"if you trust it: {command}")
    return f"the {ENTRY} beside the file is not run; to build the model with it, if you trust it: {command}"


def read_contents(file: Path) -> Contents:
    """Look into a model file, of which nothing is run; raises UserError if it holds no model."""
    contents = open_checkpoint(file).contents
    if not contents.tensors and contents.format not in RUNNERS:
        raise UserError("; ".join([f"{file} holds no tensors", *contents.problems]), f"run `model-zoo inspect {file}`")
    return contents


def check_runnable(file: Path, format_: Format, source: Path | None, trust: bool) -> None:
    """Refuse a file with code of its own without trust. One of weights alone is let through: it is recovered first."""
    if source is not None:
        if format_ in (Format.ONNX, Format.TFLITE):
            raise UserError(f"{file} is {format_}, which runs by itself", "leave --source out")
    elif format_ is Format.PT2 and not trust:
        read_program(file)  # which refuses what it cannot read as data
    elif format_ is Format.TORCHSCRIPT and not trust:
        hint = "give --trust if you trust where it comes from"
        raise UserError(f"{file} is a TorchScript archive: running it runs the code in it", hint)


def read_recovery(folder: Path, problems: list[str]) -> RecoveryFacts:
    """Read the recovery.json of a folder, if there is one; why it cannot be read is added to the problems."""
    try:
        return RecoveryFacts.model_validate(_read_object(folder / RECOVERY, problems))
    except pydantic.ValidationError as error:
        problems.append(f"{RECOVERY} cannot be read: {error.errors()[0]['msg']}")
        return RecoveryFacts()


def identify(file: Path, contents: Contents, source: Path | None, origin: str | None) -> Identity:
    """Collect everything that file, names, config and README say, and the origin that the user claims."""
    folders = [file.parent] if source is None or source == file.parent else [file.parent, source]
    problems = [*contents.problems, *contents.notes, *(f"refused to run {call}" for call in contents.calls)]
    config = _read_object(file.parent / "config.json", problems)
    recovery = read_recovery(source, problems) if source else RecoveryFacts()
    for kind, names in recovery.not_recovered.items():
        if names:
            more = " …" if len(names) > _MOST_NAMES else ""
            problems.append(f"recovered in part: {kind} tensors: {', '.join(names[:_MOST_NAMES])}{more}")
    assumed = (choice for choice in recovery.choices if choice.settled_by == "assumed")
    return Identity(
        path=str(file.resolve()),
        format=str(contents.format),
        size_mb=round(file.stat().st_size / 1e6, 3),
        sha256=sha256_file(file),
        tensors=len(contents.tensors) or None,
        parameters=sum(tensor.numel for tensor in contents.tensors.values()) or None,
        names=tuple(_names(file, recovery.model, config)),
        origin=tuple(_origins(folders, config, origin)),
        config={key: config[key] for key in _CONFIG_KEYS if key in config},
        code=None if source is None else str(source / ENTRY),
        recovered=recovery.model.title,
        choices=tuple(f"{choice.meaning or choice.name}: {choice.value}" for choice in assumed),
        problems=tuple(problems),
    )


def _names(file: Path, recovered: _RecoveredModel, config: dict[str, Any]) -> Iterator[Claim]:
    for key, text in recovered:
        if text:
            yield Claim(text=text, where=f"{RECOVERY}: {key}")
    for key in _ARCHITECTURE_KEYS:
        value = config.get(key)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text:
                yield Claim(text=text[:200], where=f"config.json: {key}")
    for name, where in ((file.stem, "file name"), (file.parent.resolve().name, "folder name")):
        words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
        if any(word.lower() not in _EMPTY_WORDS and not word.isdigit() for word in words):
            yield Claim(text=name, where=where)


def _origins(folders: Sequence[Path], config: dict[str, Any], origin: str | None) -> Iterator[Claim]:
    """Find addresses and commits in the README and the config beside file and code."""
    if origin:
        yield Claim(text=origin, where="--origin")
    name = config.get("_name_or_path")
    if isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        yield Claim(text=name, where="config.json: _name_or_path")
    claims: dict[str, str] = {}
    for file in (file for folder in folders for file in sorted(folder.glob("README*")) if file.is_file()):
        with file.open(encoding="utf-8", errors="replace") as opened:
            text = opened.read(_MAX_TEXT)
        for claim in (*_URL.findall(text)[:5], *(f"commit {each}" for each in _COMMIT.findall(text)[:2])):
            claims.setdefault(claim.rstrip("./"), file.name)
    yield from (Claim(text=text, where=where) for text, where in claims.items())


def _read_object(file: Path, problems: list[str]) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        value = read_json(file, _MAX_TEXT, Budget())
    except UnreadableError as error:
        problems.append(str(error))
        return {}
    if not isinstance(value, dict):
        problems.append(f"{file.name} cannot be read: it is no JSON object")
        return {}
    return value
