"""A model for a file of weights alone: recovered into the workspace, by the command that does just that."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.jobs import ChildFailedError, Limits, run_child
from model_zoo.workbench.explore.model_file import ENTRY
from model_zoo.workbench.explore.workspace import Workspace

#: Folder in the workspace.
RECOVERED = "scripts/recovered"


def recover(file: Path, workspace: Workspace, limits: Limits) -> Path:
    """Write the module that loads the file into a folder, and return it."""
    folder = workspace.root / RECOVERED
    # It is made anew each time: of a workspace that is resumed, nobody knows who wrote the code in it.
    shutil.rmtree(folder, ignore_errors=True)
    scratch = workspace.root / "logs" / "recover"
    scratch.mkdir(exist_ok=True)
    try:
        child = run_child(__name__, {"file": str(file.resolve()), "folder": str(folder)}, scratch, limits, "recovery")
        log, problem = child.value["printed"], child.value["problem"]
    except ChildFailedError as error:
        log, problem = error.log, error.message
    workspace.log("recover", log)
    if not (folder / ENTRY).is_file():
        hint = f"give --source DIR with a {ENTRY} whose build_model() gives the module"
        raise UserError(f"{file} holds weights, not the code that runs them: {problem}", hint)
    return folder


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """In the child: recover into a folder; return what was printed, and why it failed."""
    from model_zoo.workbench.recover import command

    printed, problem = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        try:
            status = command.run([job["file"], "-o", job["folder"]])
            problem = "" if status == 0 else "only a part was recovered"
        except ModelZooError as error:
            problem = error.message
    return {"printed": printed.getvalue(), "problem": problem}
