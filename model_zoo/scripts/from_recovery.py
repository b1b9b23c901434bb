"""What a model folder is made of that starts from a recovered checkpoint."""

from __future__ import annotations

import json
import keyword
import re
import shutil
from pathlib import Path
from typing import Any

from model_zoo.base.spec import TensorSpec
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.recover.trial import check_source

#: The template of model.py.
TEMPLATE = "recovered"

_AGAIN = "run `model-zoo recover FILE -o DIR` again"


def recovery_facts(recovery: Path) -> dict[str, Any]:
    """What the templates need to know of a recovery.

    Raises:
        UserError: The folder holds none, a part of one, or one whose files were changed.
    """
    try:
        found = json.loads((recovery / "recovery.json").read_text(encoding="utf-8"))
        title, inputs, found_by = str(found["model"]["title"]), found["inputs"], found["model"]["found_by"]
        checked, missing = found["verification"], found["not_recovered"]["missing"]
        digest, outputs = found["weights"]["sha256"], checked["outputs"]
        source = (recovery / "model.py").read_text(encoding="utf-8")
        kept = sha256_file(recovery / "weights.safetensors")
        lacks = f"{len(missing)} tensors are missing" if missing else checked["problem"] or "it was not verified"
        whole = checked["passed"] and not missing
        specs = [{"name": _identifier(each["name"]), "spec": _spec(each)} for each in inputs]
        results = [_identifier(each["name"]) for each in outputs]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{recovery} holds no recovery: {type(error).__name__}: {error}", _AGAIN) from error
    if not whole:
        raise UserError(f"{recovery} is no whole model: {lacks}", f"see {recovery / 'recovery.json'}")
    if kept != digest:
        raise UserError(f"{recovery / 'weights.safetensors'} is not the file that was verified", _AGAIN)
    check_source(source)
    names = [spec["name"] for spec in specs]
    by_keyword = found_by == "name" and len(names) > 1
    return {
        "sha256": digest,
        "recovered": " ".join(title.split()),
        "inputs": specs,
        "arguments": [f"{name}: torch.Tensor" for name in names],
        "call": ", ".join(f"{name}={name}" if by_keyword else name for name in names),
        "outputs": _distinct(results, names),
    }


def copy_files(recovery: Path, folder: Path) -> None:
    """Put the module and its weights into a model's folder."""
    shutil.copyfile(recovery / "model.py", folder / "network.py")
    shutil.copyfile(recovery / "weights.safetensors", folder / "weights.safetensors")


def _spec(example: dict[str, Any]) -> str:
    """The arguments of a `TensorSpec` in Python; the first dimension is the batch."""
    shape = tuple(int(size) for size in example["shape"])
    spec = TensorSpec(shape, dtype=example["dtype"])
    sizes = ", ".join(["batch_size", *map(str, shape[1:])])
    text = f"({sizes})" if len(shape) > 1 else f"({sizes},)"
    if spec.dtype != "float32":
        text += f', "{spec.dtype}"'
    if example["high"] is not None:
        text += f", IoType.TOKEN_IDS, value_range=(0, {int(example['high']) - 1})"
    return text


def _identifier(name: object) -> str:
    made = re.sub(r"\W+", "_", str(name), flags=re.ASCII).strip("_") or "tensor"
    return f"t_{made}" if made[0].isdigit() or keyword.iskeyword(made) else made


def _distinct(names: list[str], taken: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        free = name
        while free in found or free in taken:
            free += "_out" if free in taken else "_"
        found.append(free)
    return found
