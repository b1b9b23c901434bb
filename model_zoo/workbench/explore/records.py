"""The record of an exploration: each step leaves one file in outputs/. See `figures` for what was measured."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal

import pydantic


class RecordPart(pydantic.BaseModel):
    """A part of the record. Unknown fields are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    _prefix: str = pydantic.PrivateAttr("")

    def reference(self, field: str) -> str:
        """Return the name of a field in a report, e.g. "run.json: latency.p50_ms"."""
        return f"{self._prefix}{field}"

    def set_references(self, prefix: str) -> None:
        """Say where this part and those in it stand in outputs/."""
        self._prefix = prefix
        for name, value in self:
            if isinstance(value, RecordPart):
                value.set_references(f"{prefix}{name}.")
            for index, each in enumerate(value if isinstance(value, tuple) else ()):
                if isinstance(each, RecordPart):
                    each.set_references(f"{prefix}{name}[{index}].")


class StepRecord(RecordPart):
    """What one step of an exploration leaves in outputs/."""

    file: ClassVar[str]
    version: Literal[1] = 1

    def __init_subclass__(cls, file: str) -> None:
        cls.file = file


class ExploreRequest(StepRecord, file="request.json"):
    """What the user asked for. Paths are absolute."""

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
    """How an exploration ended."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class ExploreState(StepRecord, file="state.json"):
    """How far an exploration came, and the command that goes on; the time is in UTC."""

    outcome: Outcome
    done: tuple[str, ...]
    reason: str | None
    started: str
    resume: str


class Claim(RecordPart):
    """What a file or a name says about the model."""

    text: str
    where: str


class Identity(StepRecord, file="identity.json"):
    """What the model file is.

    Args:
        parameters: Elements of all tensors; None if the format does not tell.
        names: Guesses at model or family, the best founded first.
        origin: Claimed sources; nothing was fetched to check them.
        choices: Assumptions of a recovery.
        problems: What is damaged, missing or was refused.
    """

    path: str
    format: str
    size_mb: float
    sha256: str
    tensors: int | None
    parameters: int | None
    names: tuple[Claim, ...]
    origin: tuple[Claim, ...]
    config: dict[str, Any]
    code: str | None
    recovered: str | None
    choices: tuple[str, ...]
    problems: tuple[str, ...]


class Environment(StepRecord, file="environment.json"):
    """Where the model runs.

    Args:
        candidates: All environments, as "kind: folder".
        is_running: Whether this program runs in the one taken as current.
    """

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
    """Whether a required package is installed."""

    INSTALLED = "installed"
    MISSING = "missing"
    CONFLICT = "conflict"


class Requirement(RecordPart):
    """One required package.

    Args:
        specifier: Version constraint, e.g. ">=2.0"; empty if none is stated.
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
    """A way to install what is missing; it was not run."""

    environment: str
    what: str
    command: str


class Requirements(StepRecord, file="requirements.json"):
    """Packages that the run needs."""

    requirements: tuple[Requirement, ...]
    missing: tuple[str, ...]
    conflicts: tuple[str, ...]
    options: tuple[InstallCommand, ...]
    skipped: tuple[str, ...]
