"""Start a model folder that already passes its tests: model.py and info.yaml, which say what to replace, and all that
is generated from them.

Example:
    python model_zoo/scripts/new_model.py my_model --task object_detection
"""

from __future__ import annotations

import keyword
import shutil
import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # run by its path: the clone it lies in is meant

from model_zoo.base.registry import VALID_ID, models_folder
from model_zoo.commands.parser import command_parser
from model_zoo.scripts import from_recovery, run_codegen
from model_zoo.utils.console import guarded, print_json
from model_zoo.utils.errors import UserError, unknown_name
from model_zoo.utils.files import atomic_folder

#: By task, which has a template of model.py: domain and use case for info.yaml.
TASKS = {
    "image_classification": ("Computer Vision", "Image Classification"),
    "object_detection": ("Computer Vision", "Object Detection"),
    "tensor": ("Other", "Other"),
}

#: Longer ids would break the lines of generated files.
MAX_ID = 40


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
        facts |= from_recovery.recovery_facts(recovery)
    templates = {"info.yaml": "info.yaml", "model.py": f"{task if recovery is None else from_recovery.TEMPLATE}.py"}
    try:
        with atomic_folder(folder, replace=False) as temporary:
            for name, template in templates.items():
                text = run_codegen.environment().get_template(f"new_model/{template}.j2").render(facts)
                (temporary / name).write_text(text, encoding="utf-8", newline="\n")
            if recovery is not None:
                from_recovery.copy_files(recovery, temporary)
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
