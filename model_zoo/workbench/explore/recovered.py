"""A model for a file of weights alone: recovered into the workspace, by the command that does just that."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.jobs import ChildFailedError, Limits, run_child
from model_zoo.workbench.explore.workspace import Workspace

#: Within the workspace.
RECOVERED = "scripts/recovered"


def recover(file: Path, workspace: Workspace, limits: Limits) -> Path:
    """The folder with the module that loads the file.

    Made anew each time: of a workspace that is resumed, nobody knows who wrote the code in it.

    Raises:
        UserError: No model is found for it.
    """
    folder = workspace.root / RECOVERED
    shutil.rmtree(folder, ignore_errors=True)
    scratch = workspace.folder("logs") / "recover"
    scratch.mkdir(exist_ok=True)
    log = ""
    try:
        child = run_child(__name__, {"file": str(file.resolve()), "folder": str(folder)}, scratch, limits, "recovery")
        log = child.value["printed"]
        problem = child.value["problem"]
    except ChildFailedError as error:
        log, problem = error.log, error.message
    workspace.log("recover", log)
    if not (folder / "model.py").is_file():
        raise UserError(
            f"{file} holds weights, not the code that runs them: {problem}",
            "give --source DIR with a model.py whose build_model() gives the module",
        )
    return folder


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """In the child: recover into a folder; gives what was printed, and why it failed."""
    from model_zoo.workbench.recover import command

    printed, problem = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        try:
            status = command.run([job["file"], "-o", job["folder"]])
            problem = "" if status == 0 else "only a part was recovered"
        except ModelZooError as error:
            problem = error.message
    return {"printed": printed.getvalue(), "problem": problem}
