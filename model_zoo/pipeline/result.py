"""The result of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, computed_field

from model_zoo.evaluators.base import Score
from model_zoo.pipeline.auto_precision import Search
from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.verify import Parity
from model_zoo.targets.chipset import Chipset
from model_zoo.toolchains.base import Compiled
from model_zoo.toolchains.measurement import Measurement
from model_zoo.utils.errors import ModelZooError


class ComponentResult(BaseModel, frozen=True):
    """One component for one chipset.

    Args:
        file: The main file; None when compiling was skipped.
        size_bytes: Of all files of the component.
        parity: Each output against torch; empty when nothing was run.
        scores: The metric by where it was measured: "torch", "host CPU", "NPU emulator".
        measurements: Latency of the lowered file on this machine's CPU, and what was measured on devices.
        cached: Whether all of it was found in the cache.
    """

    name: str
    file: Path | None
    size_bytes: int
    compiled: Compiled | None
    parity: tuple[Parity, ...] = ()
    scores: dict[str, Score] = {}
    measurements: tuple[Measurement, ...] = ()
    settings: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    cached: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verified(self) -> bool | None:
        """Whether every output is near enough to torch on the emulator; None: it was not run there."""
        known = [parity.passed for parity in self.parity if parity.passed is not None]
        return all(known) if known else None

    @property
    def files(self) -> list[Path]:
        """All files of the component, the main file first."""
        return [self.file.with_name(name) for name in self.compiled.files] if self.file and self.compiled else []


@dataclass(frozen=True)
class TargetResult:
    """One chipset's outcome.

    Args:
        folder: The finished folder; None when nothing was written.
        packed: The folder as one .zip, if that was asked for.
        error: Why there is no folder.
    """

    chipset: Chipset | None
    folder: Path | None
    components: tuple[ComponentResult, ...]
    packed: Path | None = None
    error: ModelZooError | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "chipset": self.chipset.name if self.chipset else None,
            "folder": str(self.folder) if self.folder else None,
            "components": [component.model_dump(mode="json") for component in self.components],
            "error": str(self.error) if self.error else None,
        }


@dataclass(frozen=True)
class ExportResult:
    """All targets of one export, and by component how its automatic precision was found."""

    plan: Plan
    targets: tuple[TargetResult, ...]
    searches: dict[str, Search] = field(default_factory=dict)

    @property
    def errors(self) -> list[ModelZooError]:
        """What went wrong, over all targets."""
        return [target.error for target in self.targets if target.error]

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan.to_json(),
            "searches": {name: search.to_json() for name, search in self.searches.items()},
            "targets": [target.to_json() for target in self.targets],
        }


class ExportFailedError(ModelZooError):
    """At least one target failed; `result` holds the others."""

    def __init__(self, result: ExportResult) -> None:
        first = result.errors[0]
        more = len(result.errors) - 1
        others = f" (and {more} more of {len(result.targets)} targets failed)" if more else ""
        super().__init__(first.message + others, first.hint)
        self.result = result
