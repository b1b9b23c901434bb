"""Run a model in a child process and measure it: cold, warm, in batches, layer by layer."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import write_samples
from model_zoo.utils.jobs import ChildFailedError, Limits, Worker
from model_zoo.workbench.explore.figures import (
    BatchFigures,
    ColdStart,
    LatencyFigures,
    LayerCosts,
    MemoryFigures,
    ModelRun,
    RunFailure,
    tensor_stats,
)
from model_zoo.workbench.explore.loaded_model import DeclaredInputs
from model_zoo.workbench.explore.measure_worker import LoadedFacts

_WORKER = "model_zoo.workbench.explore.measure_worker"
#: Seconds that all warm runs together may take; a slow model is run less often, and the record says so.
_WARM_BUDGET_S = 60.0
_BATCHES = (2, 4, 8)
_BATCH_RUNS, _BATCH_BUDGET_S = 10, 10.0
#: Forward passes beside the warm ones: warm-up, batches (15 samples in each round), layers.
_OTHER_RUNS = 60


@dataclass
class ModelProcess:
    """A model in a child process, which the first request starts.

    Args:
        job: What the child loads; see `measure_worker.serve`.
        samples: File of the samples for the child.
        place: Processor that is measured: the CPU, or the name of the accelerator.
        limits: Limits of each request.
    """

    job: dict[str, Any]
    work_dir: Path
    samples: Path
    place: str
    limits: Limits
    facts: LoadedFacts = field(default_factory=LoadedFacts)
    _worker: Worker | None = None

    def close(self) -> None:
        """End the child."""
        if self._worker:
            self._worker.close()

    def ask(self, step: str, **request: Any) -> dict[str, Any]:
        """Send one request.

        Raises:
            ChildFailedError: The child failed, crashed or ran past its limit.
        """
        if self._worker is None:
            self.job["started"] = time.time()
            self._worker = Worker(_WORKER, self.job, self.work_dir, self.limits, Path(self.job["file"]).name)
        return self._worker.ask({"step": step, "samples": str(self.samples), **request})

    def load(self) -> None:
        """Load the model."""
        self.facts = LoadedFacts.model_validate(self.ask("load"))

    def guess_inputs(self) -> DeclaredInputs:
        """Find inputs that the forward pass takes, where nothing declares them."""
        return DeclaredInputs.model_validate(self.ask("guess"))

    @property
    def log(self) -> str:
        """What the child printed so far."""
        file = self.work_dir / "log.txt"
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    def new_run(self, runs: int, **figures: Any) -> ModelRun:
        """Describe a run with the figures that are known."""
        described = {name: getattr(self.facts, name) for name in ("runtime", "device", "threads", "parameters")}
        return ModelRun(**described, place=self.place, runs_asked=runs, **figures)


def measure(
    process: ModelProcess, samples: Sequence[Arrays], runs: int, tell: Callable[[str], None]
) -> tuple[ModelRun, LayerCosts]:
    """Measure everything. A failure ends it and is part of the record.

    Args:
        tell: Callback for what is estimated before it is started.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # before anything of this runs
    figures: dict[str, Any] = {
        "inputs": tuple(tensor_stats(name, value) for name, value in samples[0].items()),
        "load": None if load is None else round(load, 2),
        "is_busy": load is not None and load > (os.cpu_count() or 1) / 2,
    }
    write_samples(process.samples, samples)
    step = "first forward pass"
    try:
        first = process.ask("first")
        figures |= _first_figures(process.facts, first)
        per_run, budget = first["second_ms"] / 1000, min(_WARM_BUDGET_S, process.limits.seconds / 2)
        figures["estimate_s"] = round(min(per_run * runs, budget) + per_run * _OTHER_RUNS, 1)
        tell(f"{runs} warm runs, batches and layers: about {figures['estimate_s']:.0f} s")
        step = "warm runs"
        warm = process.ask("warm", runs=runs, seconds=budget)
        figures |= {"latency": summarise(warm["milliseconds"]), "memory": _memory(process.facts, warm)}
        step = "batches"
        figures["batches"] = batches = _batches(process, samples[0], figures["latency"].p50_ms)
        best = max(batches, key=lambda batch: batch.samples_per_s or 0.0)
        figures |= {"best_batch": best.batch, "best_samples_per_s": best.samples_per_s}
    except ChildFailedError as error:
        failure = RunFailure(step=step, message=error.message)
        return process.new_run(runs, **figures, failure=failure), LayerCosts(problem="the model did not run")
    try:
        layers = LayerCosts.model_validate(process.ask("layers", runs=runs)["layers"])
    except ChildFailedError as error:
        layers = LayerCosts(problem=error.message)
    return process.new_run(runs, **figures), layers


def _first_figures(facts: LoadedFacts, first: dict[str, Any]) -> dict[str, Any]:
    parts = {"process": facts.process_ms, "import": facts.import_ms, "load": facts.load_ms, "first": first["first_ms"]}
    rounded = {f"{name}_ms": round(ms, 1) for name, ms in parts.items()}
    return {
        "cold": ColdStart(**rounded, total_ms=round(sum(rounded.values()), 1)),
        "outputs": first["outputs"],
        "outputs_repeat": first["repeat"],
        "memory": _memory(facts, first),
    }


def _memory(facts: LoadedFacts, answer: dict[str, Any]) -> MemoryFigures:
    return MemoryFigures(
        imported_mb=facts.imported_mb,
        peak_mb=answer["peak_mb"],
        model_mb=round(answer["peak_mb"] - facts.imported_mb, 1),
        accelerator_peak_mb=answer["accelerator_peak_mb"],
    )


def _batches(process: ModelProcess, sample: Arrays, single_ms: float) -> tuple[BatchFigures, ...]:
    """Measure throughput with more samples at once, as far as the model takes them."""
    rows = {value.shape[0] if value.ndim else 0 for value in sample.values()}
    own = rows.pop() if len(rows) == 1 else 0
    figures = [_batch(own or 1, single_ms)]
    for batch in _BATCHES if own == 1 else ():
        answer = process.ask("batch", batch=batch, runs=_BATCH_RUNS, seconds=_BATCH_BUDGET_S)
        if answer["problem"]:
            figures.append(BatchFigures(batch=batch, p50_ms=None, samples_per_s=None, problem=answer["problem"]))
            break
        figures.append(_batch(batch, float(np.median(answer["milliseconds"]))))
    return tuple(figures)


def _batch(batch: int, ms: float) -> BatchFigures:
    return BatchFigures(batch=batch, p50_ms=round(ms, 3), samples_per_s=round(batch / ms * 1000, 1), problem=None)


def summarise(milliseconds: Sequence[float]) -> LatencyFigures:
    """Compute the percentiles of single runs."""
    p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
    return LatencyFigures(
        runs=len(milliseconds),
        p50_ms=round(p50, 3),
        p90_ms=round(p90, 3),
        p99_ms=round(p99, 3),
        min_ms=round(min(milliseconds), 3),
        max_ms=round(max(milliseconds), 3),
        mean_ms=round(statistics.fmean(milliseconds), 3),
        stdev_ms=round(statistics.stdev(milliseconds), 3) if len(milliseconds) > 1 else 0.0,
        spread=round(p99 / p50, 2),
        milliseconds=tuple(round(value, 4) for value in milliseconds),
    )
