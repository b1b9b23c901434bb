"""Run the stages over many models: a few warm child processes serve them all and are replaced when one breaks."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from model_zoo.utils.code_digest import code_digest, installed_versions
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import cache_root, make_folder
from model_zoo.utils.hashing import digest
from model_zoo.utils.jobs import ChildFailedError, Limits
from model_zoo.workbench.discover.reasons import child_failure
from model_zoo.workbench.discover.verdict import (
    ONNX_FILE,
    Attempt,
    ListedModel,
    Listing,
    ModelFinding,
    Reason,
    StageVerdict,
    SurveyStage,
)
from model_zoo.workbench.json_lines import JsonLines
from model_zoo.workbench.libraries import SURVEYED
from model_zoo.workbench.warm_children import WarmChild, WarmChildren

_CHILD = "model_zoo.workbench.discover.survey_child"
_LIMITS = Limits(seconds=300.0, memory_bytes=8 * 2**30)
_TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-qnn")


@dataclass(frozen=True)
class SurveyRequest:
    """What is to be found out.

    Args:
        chipset: Name of the chipset, if the depth is the NPU; else "".
        limit_s: Wall time of one stage of one model.
        workers: Child processes side by side.
    """

    library: str
    depth: SurveyStage
    chipset: str
    limit_s: float
    workers: int


def versions(library: str) -> dict[str, str]:
    """Versions of the library and of all that traces and converts its models."""
    if library in SURVEYED:
        return installed_versions(library, *_TOOLS)
    distributions = [] if "/" in library else packages_distributions().get(library.split(".")[0], [])
    return installed_versions(*distributions, *_TOOLS)


class _KeptListing(BaseModel, frozen=True):
    listing: Listing


class _KeptAttempt(Attempt, frozen=True):
    model: str
    stage: str
    limit_s: float


class SurveyCache:
    """A file with a line for the listing and one for each verdict.

    Args:
        chipset: Name of the chipset that the last stage depends on; "" without one.
        limit_s: An earlier timeout counts only if it had at least this long.
        key: JSON values: everything else that verdicts depend on, versions included.
    """

    def __init__(self, library: str, chipset: str, limit_s: float, key: list[Any]) -> None:
        self._limit_s = limit_s
        self._names = {stage: str(stage) for stage in SurveyStage} | {SurveyStage.NPU: f"npu:{chipset}"}
        folder = cache_root() / "discover"
        make_folder(folder, "free some space, or name another cache folder in MODEL_ZOO_CACHE")
        name = re.sub(r"\W+", "_", Path(library).stem)
        record: TypeAdapter[_KeptListing | _KeptAttempt] = TypeAdapter(_KeptListing | _KeptAttempt)
        self._file = JsonLines(folder / f"{name}-{digest(library, *key)[:16]}.jsonl", record)
        self.listing: Listing | None = None
        self._attempts: dict[tuple[str, str], _KeptAttempt] = {}
        for line in self._file.read():
            if isinstance(line, _KeptListing):
                self.listing, self._attempts = line.listing, {}
            else:
                self._attempts[line.model, line.stage] = line
        if self.listing and not self.listing.is_current:
            self.listing, self._attempts = None, {}

    def start(self, listing: Listing) -> None:
        """Keep what a library lists; nothing found out before it counts any more."""
        self.listing, self._attempts = listing, {}
        self._file.append(_KeptListing(listing=listing))

    def find(self, model: str, stage: SurveyStage) -> Attempt | None:
        """What an earlier run found, if trying again on this machine would give the same."""
        kept = self._attempts.get((model, self._names[stage]))
        if kept is None or kept.verdict.reason in (Reason.PACKAGE, Reason.NETWORK):
            return None
        return None if kept.verdict.reason is Reason.TIME and kept.limit_s < self._limit_s else kept

    def keep(self, model: str, stage: SurveyStage, attempt: Attempt) -> None:
        """Keep a verdict. Called from several threads."""
        kept = _KeptAttempt(**dict(attempt), model=model, stage=self._names[stage], limit_s=self._limit_s)
        self._attempts[model, kept.stage] = kept
        self._file.append(kept)


class Survey(WarmChildren):
    """Child processes over one library; leaving the context ends them."""

    def __init__(self, request: SurveyRequest) -> None:
        self._stages = request.depth.up_to()
        self._limit_s = request.limit_s
        key = [versions(request.library), code_digest(_CHILD)]
        self._cache = SurveyCache(request.library, request.chipset, request.limit_s, key)
        job = {
            "library": request.library,
            "stages": [stage for stage in self._stages if stage is not SurveyStage.NPU],
            "chipset": request.chipset,
            "threads": max(1, (os.cpu_count() or 1) // request.workers),
        }
        super().__init__(_CHILD, job, _LIMITS, f"importing {request.library}", request.workers)

    def listing(self) -> Listing:
        """The models of the library.

        Raises:
            ModelZooError: It cannot be imported.
        """
        if self._cache.listing is None:
            with self.child() as child:
                self._cache.start(_load(child))
        assert self._cache.listing is not None
        return self._cache.listing

    def run(self, models: Sequence[ListedModel]) -> Generator[ModelFinding, None, None]:
        """The findings of all models, in their order, each as soon as it and those before it are there."""
        return self.map(self._examine, models)

    def _examine(self, child: WarmChild, model: ListedModel) -> ModelFinding:
        attempts: dict[SurveyStage, Attempt] = {}
        (child.work_dir / ONNX_FILE).unlink(missing_ok=True)
        for stage in self._stages:
            attempt = self._cache.find(model.name, stage)
            if attempt is None and stage.needs and not attempts[stage.needs].verdict.ok:
                message = f"not tried: {stage.needs.label} failed"
                attempt = Attempt(verdict=StageVerdict(reason=Reason.EARLIER, message=message))
            elif attempt is None:
                attempt = self._attempt(child, model.name, stage)
                self._cache.keep(model.name, stage, attempt)
            attempts[stage] = attempt
        inputs = [attempt.input for attempt in attempts.values() if attempt.input]
        verdicts = {stage: attempt.verdict for stage, attempt in attempts.items()}
        return ModelFinding(**dict(model), input=inputs[-1] if inputs else "", stages=verdicts)

    def _attempt(self, child: WarmChild, model: str, stage: SurveyStage) -> Attempt:
        """Run one stage of one model; what breaks the child process becomes a verdict."""
        if stage is SurveyStage.NPU and not (child.work_dir / ONNX_FILE).exists():  # its verdict is of an earlier run
            again = self._attempt(child, model, SurveyStage.ONNX)
            if not again.verdict.ok:
                return again
        if not child.is_running:
            _load(child)
        served, started = child.answered > 0, time.monotonic()
        try:
            return Attempt.model_validate(child.ask({"model": model, "stage": stage}, self._limit_s))
        except ChildFailedError as error:
            verdict = child_failure(error.message, time.monotonic() - started)
            if verdict.reason is Reason.MEMORY and served:  # what earlier models left behind may have filled it
                return self._attempt(child, model, stage)
            return Attempt(verdict=verdict)


def _load(child: WarmChild) -> Listing:
    try:
        return Listing.model_validate(child.start())
    except ChildFailedError as error:
        raise ModelZooError(error.message, "import it in Python to see where it stops") from error
