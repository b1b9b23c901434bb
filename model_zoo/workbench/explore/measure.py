"""Run a model in a child process and measure it: cold, warm, in batches, layer by layer."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import write_samples
from model_zoo.utils.jobs import ChildFailedError, Limits, Worker
from model_zoo.workbench.explore.figures import LayerCosts, ModelRun, RunFailure, tensor_stats
from model_zoo.workbench.explore.loaded_model import LoadedFacts
from model_zoo.workbench.explore.workspace import SAMPLES, Workspace

_WORKER = "model_zoo.workbench.explore.measure_worker"
#: Seconds that all warm runs together may take; a slow model is run less often, and the record says so.
_WARM_BUDGET_S = 60.0


class ModelProcess:
    """A model in a child process, which the first request starts and leaving the context ends."""

    def __init__(self, workspace: Workspace, job: dict[str, Any], log: str, place: str, limits: Limits) -> None:
        self.facts, self.place, self.limits = LoadedFacts(), place, limits
        self.samples = workspace.root / SAMPLES
        self._workspace, self._job, self._log = workspace, job, log
        self._scratch = workspace.root / "logs" / "child"
        self._worker: Worker | None = None

    def __enter__(self) -> Self:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._worker:
            self._worker.close()
        log = self._scratch / "log.txt"
        self._workspace.log(self._log, log.read_text(encoding="utf-8", errors="replace") if log.is_file() else "")
        shutil.rmtree(self._scratch, ignore_errors=True)

    def ask(self, step: str, **request: Any) -> dict[str, Any]:
        """Send one request."""
        if self._worker is None:
            job = {**self._job, "started": time.time()}
            self._worker = Worker(_WORKER, job, self._scratch, self.limits, Path(job["file"]).name)
        return self._worker.ask({"step": step, **request})

    def load(self) -> None:
        """Load the model."""
        self.facts = LoadedFacts.model_validate(self.ask("load"))

    def new_run(self, runs: int, **figures: Any) -> ModelRun:
        """Describe a run with the figures that are known."""
        facts = self.facts.model_dump(exclude={"declared", "argument_names"})
        return ModelRun(**facts, place=self.place, runs_asked=runs, **figures)


def measure(
    process: ModelProcess, samples: Sequence[Arrays], runs: int, tell: Callable[[str], None]
) -> tuple[ModelRun, LayerCosts]:
    """Measure everything, after saying how long it takes. A failure ends it and is part of the record."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # before anything of this runs
    figures: dict[str, Any] = {
        "inputs": tuple(tensor_stats(name, value) for name, value in samples[0].items()),
        "load": None if load is None else round(load, 2),
        "is_busy": load is not None and load > (os.cpu_count() or 1) / 2,
    }
    write_samples(process.samples, samples)
    budget = min(_WARM_BUDGET_S, process.limits.seconds / 2)
    step = "first forward pass"
    try:
        figures |= process.ask("first", samples=str(process.samples), runs=runs, seconds=budget)
        tell(f"{runs} warm runs, batches and layers: about {figures['estimate_s']:.0f} s")
        step = "warm runs"
        figures |= process.ask("warm", runs=runs, seconds=budget)
        step = "batches"
        figures |= process.ask("batches")
    except ChildFailedError as error:
        failure = RunFailure(step=step, message=error.message)
        return process.new_run(runs, **figures, failure=failure), LayerCosts(problem="the model did not run")
    try:
        layers = LayerCosts.model_validate(process.ask("layers", runs=runs))
    except ChildFailedError as error:
        layers = LayerCosts(problem=error.message)
    return process.new_run(runs, **figures), layers
