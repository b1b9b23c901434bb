"""Start a model folder that already passes its tests: model.py and info.yaml, which say what to replace, and all that
is generated from them.

Example:
    python model_zoo/scripts/new_model.py my_model --task object_detection
"""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # run by its path: the clone it lies in is meant

import pydantic
from pydantic import AliasPath

from model_zoo.base.registry import VALID_ID, models_folder
from model_zoo.base.spec import TensorSpec
from model_zoo.commands.parser import command_parser
from model_zoo.scripts import run_codegen
from model_zoo.utils.console import guarded, print_json
from model_zoo.utils.errors import UserError, unknown_name
from model_zoo.utils.files import atomic_folder
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.recover.trial import check_source

#: By task, which has a template of model.py: domain and use case for info.yaml.
TASKS = {
    "image_classification": ("Computer Vision", "Image Classification"),
    "object_detection": ("Computer Vision", "Object Detection"),
    "tensor": ("Other", "Other"),
}

#: Longer ids would break the lines of generated files.
MAX_ID = 40

_AGAIN = "run `model-zoo recover FILE -o DIR` again"


def new_model(model_id: str, task: str, recovery: Path | None = None) -> Path:
    """Write the folder of a new model.

    Args:
        model_id: Lower snake case.
        task: One of `TASKS`.
        recovery: Start from what `model-zoo recover` wrote: its network, weights and interface.

    Returns:
        The folder. After an error there is none.

    Raises:
        UserError: The id is not valid or taken, there is no such task, this is no clone, or the recovery is not whole.
    """
    folder = _new_folder(model_id, task)
    domain, use_case = TASKS[task]
    facts: dict[str, Any] = {
        "id": model_id,
        "name": model_id.replace("_", " ").title(),
        "domain": domain,
        "use_case": use_case,
    }
    if recovery is not None:
        facts |= recovery_facts(recovery)
    templates = {"info.yaml": "info.yaml", "model.py": f"{task if recovery is None else 'recovered'}.py"}
    try:
        with atomic_folder(folder, replace=False) as temporary:
            for name, template in templates.items():
                text = run_codegen.environment().get_template(f"new_model/{template}.j2").render(facts)
                (temporary / name).write_text(text, encoding="utf-8", newline="\n")
            if recovery is not None:
                shutil.copyfile(recovery / "model.py", temporary / "network.py")
                shutil.copyfile(recovery / "weights.safetensors", temporary / "weights.safetensors")
    except FileExistsError as error:  # another has just taken it
        raise _taken(folder) from error
    try:
        run_codegen.write(model_id)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder


def _new_folder(model_id: str, task: str) -> Path:
    """The folder that a new model gets, if the request is valid."""
    if task not in TASKS:
        raise unknown_name("task", task, TASKS, "model-zoo new --help")
    if not VALID_ID.fullmatch(model_id) or keyword.iskeyword(model_id) or len(model_id) > MAX_ID:
        raise UserError(
            f"'{model_id}' is no model id", f"use lower snake case, {MAX_ID} letters at most, e.g. my_model"
        )
    clone = models_folder().parents[1]
    if not (clone / "setup.py").is_file():
        raise UserError(f"{clone} holds an installed package", "run `python -m model_zoo new` in a clone's top folder")
    folder = models_folder() / model_id
    if folder.exists():
        raise _taken(folder)
    return folder


def _taken(folder: Path) -> UserError:
    return UserError(f"{folder} exists already", "choose another id")


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
    """The facts of a recovery that the template names; one that is not whole, or was changed, is refused."""
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


def run(argv: list[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("new", "Start a model folder that already passes its tests.", "my_model")
    parser.add_argument("model", help="lower snake case, e.g. my_model")
    parser.add_argument("--task", default="tensor", metavar="TASK", help=f"{', '.join(TASKS)} (default: %(default)s)")
    parser.add_argument("--from-recovery", type=Path, metavar="DIR", help="start from what `model-zoo recover` wrote")
    args = parser.parse_args(argv)
    folder = new_model(args.model, args.task, args.from_recovery)
    if args.json:
        print_json({"folder": str(folder), "files": sorted(path.name for path in folder.iterdir())})
        return 0
    print(f"written to {folder}/\nnext: replace the network in model.py and the texts in info.yaml; then")
    print(f"  python model_zoo/scripts/run_codegen.py -m {args.model}")
    print(f"  python model_zoo/scripts/autofill_info_yaml.py -m {args.model}")
    print(f"  pytest {folder}\n  model-zoo export {args.model} --help")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: run(sys.argv[1:]), sys.argv[1:]))
