"""What a model folder is made of that starts from a recovered checkpoint."""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path
from typing import Any

import pydantic
from pydantic import AliasPath

from model_zoo.base.spec import TensorSpec
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.recover.trial import check_source

#: The template of model.py.
TEMPLATE = "recovered"

_AGAIN = "run `model-zoo recover FILE -o DIR` again"


class _Tensor(pydantic.BaseModel):
    name: str
    shape: tuple[int, ...] = pydantic.Field(min_length=1)
    dtype: str
    high: int | None = None


class _Recovery(pydantic.BaseModel):
    """What is read of recovery.json."""

    found_by: str = pydantic.Field(validation_alias=AliasPath("model", "found_by"))
    inputs: list[_Tensor]
    outputs: list[_Tensor] = pydantic.Field(validation_alias=AliasPath("verification", "outputs"))
    passed: bool = pydantic.Field(validation_alias=AliasPath("verification", "passed"))
    problem: str | None = pydantic.Field(validation_alias=AliasPath("verification", "problem"))
    missing: list[str] = pydantic.Field(validation_alias=AliasPath("not_recovered", "missing"))
    sha256: str = pydantic.Field(validation_alias=AliasPath("weights", "sha256"))


def recovery_facts(recovery: Path) -> dict[str, Any]:
    """The facts of a recovery that the template names.

    Raises:
        UserError: The folder holds none, a part of one, or one whose files were changed.
    """
    try:
        record = _Recovery.model_validate_json((recovery / "recovery.json").read_bytes())
        source = (recovery / "model.py").read_text(encoding="utf-8")
        sha256 = sha256_file(recovery / "weights.safetensors")
        inputs = [{"name": _identifier(tensor.name), "spec": _spec(tensor)} for tensor in record.inputs]
    except (OSError, ValueError) as error:
        raise UserError(f"{recovery} holds no recovery: {' '.join(str(error).split())}", _AGAIN) from error
    if record.missing or not record.passed:
        lacks = f"{len(record.missing)} tensors are missing" if record.missing else record.problem
        raise UserError(f"{recovery} is no whole model: {lacks}", f"see {recovery / 'recovery.json'}")
    if sha256 != record.sha256:
        raise UserError(f"{recovery / 'weights.safetensors'} is not the file that was verified", _AGAIN)
    check_source(source)
    names = [each["name"] for each in inputs]
    by_keyword = record.found_by == "name" and len(names) > 1
    return {
        "sha256": sha256,
        "inputs": inputs,
        "arguments": [f"{name}: torch.Tensor" for name in names],
        "call": ", ".join(f"{name}={name}" if by_keyword else name for name in names),
        "outputs": _distinct([_identifier(tensor.name) for tensor in record.outputs], names),
    }


def copy_files(recovery: Path, folder: Path) -> None:
    """Put the module and its weights into a model's folder."""
    shutil.copyfile(recovery / "model.py", folder / "network.py")
    shutil.copyfile(recovery / "weights.safetensors", folder / "weights.safetensors")


def _spec(tensor: _Tensor) -> str:
    """The arguments of a `TensorSpec` in Python; the first dimension is the batch."""
    spec = TensorSpec(tensor.shape, dtype=tensor.dtype)
    sizes = ", ".join(["batch_size", *map(str, tensor.shape[1:])])
    text = f"({sizes})" if len(tensor.shape) > 1 else f"({sizes},)"
    if spec.dtype != "float32":
        text += f', "{spec.dtype}"'
    if tensor.high is not None:
        text += f", IoType.TOKEN_IDS, value_range=(0, {tensor.high - 1})"
    return text


def _identifier(name: str) -> str:
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "tensor"
    return f"t_{word}" if word[0].isdigit() or keyword.iskeyword(word) else word


def _distinct(names: list[str], taken: list[str]) -> list[str]:
    distinct: list[str] = []
    for name in names:
        while name in distinct or name in taken:
            name += "_out" if name in taken else "_"
        distinct.append(name)
    return distinct
