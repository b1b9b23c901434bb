"""The folder of one exploration: inputs, outputs, logs, reports and scripts. Its records say how far it came."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pydantic

from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.files import atomic_folder, atomic_write, make_folder
from model_zoo.workbench.explore.figures import STEPS, ExplorationRecord
from model_zoo.workbench.explore.records import ExploreRequest, ExploreState, Outcome, StepRecord

FOLDERS = ("inputs", "outputs", "logs", "reports", "scripts")
SAMPLES = "inputs/samples.npz"

_RERUN_SH = """#!/bin/sh
# Runs the whole experiment again, into a new workspace beside this one.
# Another Python: PYTHON=… sh scripts/rerun.sh
set -e
cd -- "$(dirname -- "$0")"
default={python}
exec "${{PYTHON:-$default}}" -P rerun.py "$@"
"""

_RERUN_PY = '''"""Run this experiment again, as outputs/request.json says, into a new workspace beside this one."""

import sys
from pathlib import Path

from model_zoo.cli import main
from model_zoo.workbench.explore.records import ExploreRequest
from model_zoo.workbench.explore.workspace import command_line

root = Path(__file__).resolve().parents[1]
request = ExploreRequest.model_validate_json((root / "outputs" / "request.json").read_bytes())
sys.exit(main([*command_line(request), "--output-dir", str(root.parent), *sys.argv[1:]]))
'''

_REPORT_PY = '''"""Make the reports again from outputs/*.json alone."""

from pathlib import Path

from model_zoo.workbench.explore.render import write_reports

for file in write_reports(Path(__file__).resolve().parents[1]):
    print(file)
'''

_S = TypeVar("_S", bound=StepRecord)
_ELSEWHERE = "choose another folder with --output-dir"
#: What may differ from the request that a workspace was made for: limits, and packages to go without.
_MAY_CHANGE = {"timeout_s", "without", "environment"}


@dataclass(frozen=True)
class Workspace:
    """The folder of an experiment, by its absolute path."""

    root: Path

    def write(self, step: StepRecord) -> None:
        """Write what a step leaves, in place of an older one."""
        with atomic_write(self.root / "outputs" / step.file) as temporary:
            temporary.write_text(step.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def read(self, kind: type[_S]) -> _S | None:
        """Read what a step left; None if it was not done. Raises ModelZooError if the file is damaged."""
        file = self.root / "outputs" / kind.file
        if not file.is_file():
            return None
        try:
            return kind.model_validate_json(file.read_bytes())
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ModelZooError(f"{file}: {where}: {first['msg']}", "delete the file to have it made again") from error

    def need(self, kind: type[_S]) -> _S:
        """Read what a step must have left; raises ModelZooError if it did not."""
        step = self.read(kind)
        if step is None:
            raise ModelZooError(f"{self.root / 'outputs' / kind.file} is missing", "run with --resume again")
        return step

    def record(self) -> ExplorationRecord:
        """Read what all steps left; raises ModelZooError if the request or the state is missing."""
        steps = {kind.file.removesuffix(".json"): self.read(kind) for kind in STEPS}
        steps |= {"request": self.need(ExploreRequest), "state": self.need(ExploreState)}
        return ExplorationRecord.model_validate(steps)

    def log(self, name: str, text: str) -> None:
        """Keep what a child process printed."""
        if text.strip():
            (self.root / "logs" / f"{name}.txt").write_text(text, encoding="utf-8")

    def mark(self, outcome: Outcome, reason: str | None = None) -> None:
        """Write how far the exploration came."""
        kinds = STEPS[2:]  # beside the request and the state
        done = tuple(kind.file for kind in kinds if (self.root / "outputs" / kind.file).is_file())
        state = self.need(ExploreState)
        self.write(state.model_copy(update={"outcome": outcome, "done": done, "reason": reason}))


def new_workspace(parent: Path, request: ExploreRequest) -> Workspace:
    """Make an empty workspace, whole or not at all."""
    make_folder(parent, _ELSEWHERE)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.name).strip("-.")[:60] or "model"
    first = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (parent / (first if number == 1 else f"{first}-{number}") for number in range(1, 1000))
    for root in (path.resolve() for path in candidates if not path.exists()):
        with contextlib.suppress(FileExistsError):  # another run has just taken the name
            return _new_workspace(root, request)
    raise UserError(f"{parent} holds too many workspaces of {first}", _ELSEWHERE)


def _new_workspace(root: Path, request: ExploreRequest) -> Workspace:
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    state = ExploreState(outcome=Outcome.UNFINISHED, done=(), reason=None, started=started, resume=f"--resume {root}")
    with atomic_folder(root, replace=False) as temporary:
        for name in FOLDERS:
            (temporary / name).mkdir()
        Workspace(temporary).write(request)
        Workspace(temporary).write(state)
    return Workspace(root)


def open_workspace(root: Path, request: ExploreRequest) -> Workspace:
    """Open an unfinished workspace to go on with it, unless it holds links or was made for another request."""
    workspace = Workspace(root.resolve())
    link = next((path for path in workspace.root.rglob("*") if path.is_symlink()), None)
    if link is not None:  # what is written there would change a file elsewhere
        raise UserError(f"{link} is a link: no exploration made it", "leave --resume out to start a new one")
    earlier = workspace.read(ExploreRequest) if all((root / name).is_dir() for name in FOLDERS) else None
    if earlier is None:
        raise UserError(f"{root} is no workspace of an exploration", "leave --resume out to start a new one")
    before, now = earlier.model_dump(exclude=_MAY_CHANGE), request.model_dump(exclude=_MAY_CHANGE)
    if differ := ", ".join(f"{key} {before[key]!r}, now {now[key]!r}" for key in now if before[key] != now[key]):
        raise UserError(
            f"{root} was made for another request: {differ}", "give the same command, or leave --resume out"
        )
    workspace.write(request)
    return workspace


def command_line(request: ExploreRequest) -> list[str]:
    """Return the arguments of `model-zoo` that make this request."""
    options = [
        *(("name", request.name), ("device", request.device), ("runs", request.runs)),
        *(("timeout", f"{request.timeout_s:g}"), ("source", request.source), ("targets", request.targets)),
        *(("environment", request.environment), ("origin", request.origin)),
        *(("input", path) for path in request.inputs),
        *(("chipset", name) for name in request.chipsets),
        *(("without", package) for package in request.without),
    ]
    # Each is one word, because a value may begin with a dash.
    words = [f"--{name}={value}" for name, value in options if value]
    return ["explore", request.model, *words, *(["--trust"] if request.trust else [])]


def write_scripts(workspace: Workspace) -> None:
    """Write rerun.sh, rerun.py and report.py."""
    rerun_sh = _RERUN_SH.format(python=shlex.quote(sys.executable))
    for name, text in (("rerun.sh", rerun_sh), ("rerun.py", _RERUN_PY), ("report.py", _REPORT_PY)):
        with atomic_write(workspace.root / "scripts" / name) as file:
            file.write_text(text, encoding="utf-8")
            file.chmod(0o755 if name.endswith(".sh") else 0o644)
