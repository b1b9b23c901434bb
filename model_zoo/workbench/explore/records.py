"""What an exploration found, step by step: each record is one `outputs/*.json`, and all that reports are made from.

Figures are kept in the unit and the rounding in which they are shown. MB are 10^6 bytes, times are of this machine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal

import pydantic


class RecordPart(pydantic.BaseModel):
    """A piece of a record. Unknown fields are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class StepRecord(RecordPart):
    """One file of the folder outputs/.

    Args:
        version: Of the layout of the file.
    """

    file: ClassVar[str]
    version: Literal[1] = 1


class ExploreRequest(StepRecord):
    """What was asked for: everything that shapes the result. Paths are absolute."""

    file: ClassVar[str] = "request.json"
    model: str
    name: str
    source: str | None
    inputs: tuple[str, ...]
    targets: str | None
    device: Literal["auto", "cpu"]
    chipsets: tuple[str, ...]
    runs: int
    environment: str | None
    origin: str | None
    without: tuple[str, ...]
    trust: bool
    timeout_s: float


class Outcome(StrEnum):
    """How far an exploration came."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class ExploreState(StepRecord):
    """Where an exploration stands.

    Args:
        done: Steps whose record is whole.
        reason: Why it stopped or failed.
        started: UTC.
        resume: The command that goes on.
    """

    file: ClassVar[str] = "state.json"
    outcome: Outcome
    done: tuple[str, ...]
    reason: str | None
    started: str
    resume: str


class Said(RecordPart):
    """Something that a file or a name says.

    Args:
        where: Which file or name.
    """

    text: str
    where: str


class Identity(StepRecord):
    """What the file is.

    Args:
        parameters: Elements of all tensors of the file; None where its format does not tell.
        names: Guesses at model or family, the best founded first.
        origin: Claimed sources; nothing was fetched to check them.
        choices: What a recovery could not settle and assumed, in words.
        problems: What is damaged, missing or was refused.
    """

    file: ClassVar[str] = "identity.json"
    path: str
    format: str
    size_mb: float
    sha256: str
    tensors: int | None
    parameters: int | None
    names: tuple[Said, ...]
    origin: tuple[Said, ...]
    config: dict[str, Any]
    code: str | None
    recovered: str | None
    choices: tuple[str, ...]
    problems: tuple[str, ...]


class Environment(StepRecord):
    """Where it runs.

    Args:
        kind: Of the environment taken as current.
        root: Its folder.
        candidates: Everything that was found, as "kind: folder".
        is_running: Whether this program runs in it.
        accelerators: Names, with their memory.
    """

    file: ClassVar[str] = "environment.json"
    kind: str
    root: str
    candidates: tuple[str, ...]
    is_running: bool
    python: str
    python_version: str
    platform: str
    cpu: str
    cores: int
    memory_mb: int
    accelerators: tuple[str, ...]
    packages: dict[str, str]


class PackageStatus(StrEnum):
    """Of a required package in the Python that runs this."""

    INSTALLED = "installed"
    MISSING = "missing"
    CONFLICT = "conflict"


class Requirement(RecordPart):
    """One package.

    Args:
        specifier: Version constraint, e.g. ">=2.0"; empty where none is stated.
        needed: Whether a run waits for it: not of extras, tests or imports that the code can do without.
        where: Who asks for it.
    """

    package: str
    specifier: str
    installed: str | None
    status: PackageStatus
    needed: bool
    where: tuple[str, ...]


class InstallCommand(RecordPart):
    """A way to install what is missing. Nothing was installed."""

    environment: str
    what: str
    command: str


class Requirements(StepRecord):
    """Which packages the run needs, and which of them are absent."""

    file: ClassVar[str] = "requirements.json"
    requirements: tuple[Requirement, ...]
    missing: tuple[str, ...]
    conflicts: tuple[str, ...]
    options: tuple[InstallCommand, ...]
    skipped: tuple[str, ...]
