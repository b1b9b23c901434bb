"""The folder of one exploration: inputs, outputs, logs, reports and scripts. Its records say how far it came."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pydantic

from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.files import atomic_folder, atomic_write, make_folder
from model_zoo.workbench.explore.records import ExploreRequest, ExploreState, Outcome, StepRecord

FOLDERS = ("inputs", "outputs", "logs", "reports", "scripts")

_R = TypeVar("_R", bound=StepRecord)
_ELSEWHERE = "choose another folder with --output-dir"


@dataclass(frozen=True)
class Workspace:
    """An experiment's folder.

    Args:
        root: Absolute.
    """

    root: Path

    def folder(self, name: str) -> Path:
        """One of `FOLDERS`."""
        return self.root / name

    def write(self, record: StepRecord) -> None:
        """Write a record in place of an older one."""
        with atomic_write(self.root / "outputs" / record.file) as temporary:
            temporary.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def read(self, kind: type[_R]) -> _R | None:
        """A record, if its step is done.

        Raises:
            ModelZooError: The file is damaged or of another version.
        """
        file = self.root / "outputs" / kind.file
        if not file.is_file():
            return None
        try:
            return kind.model_validate_json(file.read_bytes())
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ModelZooError(f"{file}: {where}: {first['msg']}", "delete the file to have it made again") from error

    def need(self, kind: type[_R]) -> _R:
        """A record that must be there.

        Raises:
            ModelZooError: It is not.
        """
        found = self.read(kind)
        if found is None:
            raise ModelZooError(f"{self.root / 'outputs' / kind.file} is missing", "run with --resume again")
        return found

    def log(self, name: str, text: str) -> None:
        """Keep what a child process printed."""
        if text.strip():
            (self.folder("logs") / f"{name}.txt").write_text(text, encoding="utf-8")

    def mark(self, outcome: Outcome, done: tuple[str, ...], reason: str | None = None) -> None:
        """Say how far it came."""
        state = self.need(ExploreState)
        self.write(state.model_copy(update={"outcome": outcome, "done": done, "reason": reason}))


def new_workspace(parent: Path, request: ExploreRequest) -> Workspace:
    """Make an empty workspace, whole or not at all.

    Raises:
        UserError: The folder cannot be written to.
    """
    make_folder(parent, _ELSEWHERE)
    stem = f"{safe_name(request.name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (parent / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    for root in (path.resolve() for path in candidates if not path.exists()):
        with contextlib.suppress(FileExistsError):  # another run has just taken the name
            return _new_workspace(root, request)
    raise UserError(f"{parent} holds too many workspaces of {stem}", _ELSEWHERE)


def _new_workspace(root: Path, request: ExploreRequest) -> Workspace:
    with atomic_folder(root, replace=False) as temporary:
        for name in FOLDERS:
            (temporary / name).mkdir()
        made = Workspace(temporary)
        made.write(request)
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        made.write(
            ExploreState(outcome=Outcome.UNFINISHED, done=(), reason=None, started=started, resume=f"--resume {root}")
        )
    return Workspace(root)


def open_workspace(root: Path, request: ExploreRequest) -> Workspace:
    """An unfinished workspace, to go on with.

    Raises:
        UserError: It is no workspace, holds links, or was made for another request; says what differs.
    """
    workspace = Workspace(root.resolve())
    link = next((path for path in workspace.root.rglob("*") if path.is_symlink()), None)
    if link is not None:  # what is written there would change a file elsewhere
        raise UserError(f"{link} is a link: no exploration made it", "leave --resume out to start a new one")
    earlier = workspace.read(ExploreRequest) if all((root / name).is_dir() for name in FOLDERS) else None
    if earlier is None:
        raise UserError(f"{root} is no workspace of an exploration", "leave --resume out to start a new one")
    before, now = earlier.model_dump(), request.model_dump()
    # Limits and what to go without may change: that is what one resumes with.
    free = {"timeout_s", "without", "environment"}
    differ = [key for key in now if key not in free and before[key] != now[key]]
    if differ:
        said = ", ".join(f"{key} {before[key]!r}, now {now[key]!r}" for key in differ)
        raise UserError(f"{root} was made for another request: {said}", "give the same command, or leave --resume out")
    workspace.write(request)
    return workspace


def safe_name(text: str) -> str:
    """A name that can be a folder's: letters, digits, '_', '-' and '.'."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:60] or "model"
