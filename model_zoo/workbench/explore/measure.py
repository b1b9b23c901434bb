"""Run the model in a child process and measure it: cold, warm, in batches, layer by layer."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import write_samples
from model_zoo.utils.jobs import ChildFailedError, Limits, Worker
from model_zoo.workbench.explore.figures import Batch, Cold, Failure, Latency, LayerCosts, Memory, ModelRun, TensorStats
from model_zoo.workbench.explore.loaded_model import ModelInput
from model_zoo.workbench.explore.measure_worker import observe

_WORKER = "model_zoo.workbench.explore.measure_worker"
#: All warm runs together take no longer than about this; a slow model is run less often, and the record says so.
WARM_BUDGET_S = 60.0
_BATCHES = (1, 2, 4, 8)
_BATCH_RUNS, _BATCH_BUDGET_S = 10, 10.0
#: Forward passes beside the warm ones: warm-up, batches (15 samples in each round), layers.
_OTHER_RUNS = 60


@dataclass
class ModelProcess:
    """A model in a child process.

    Args:
        job: What the child loads; see `worker.serve`.
        place: Processor that times are of: CPU, or the name of the accelerator.
        limits: Of each request.
        ask_about: Shown what is estimated before it is started.
    """

    job: dict[str, Any]
    work_dir: Path
    place: str
    limits: Limits
    ask_about: Callable[[str], None]
    loaded: dict[str, Any] = field(default_factory=dict)
    _worker: Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._worker:
            self._worker.close()

    def ask(self, step: str, **request: Any) -> dict[str, Any]:
        """One request; the child is started by the first.

        Raises:
            ChildFailedError: It failed, crashed or ran past its limit.
        """
        if self._worker is None:
            self.job["started"] = time.time()
            what = Path(self.job["file"]).name
            self._worker = Worker(_WORKER, self.job, self.work_dir, self.limits, what)
        return self._worker.ask({"step": step, **request})

    @property
    def log(self) -> str:
        """What the child printed so far."""
        file = self.work_dir / "log.txt"
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    def load(self) -> list[ModelInput] | None:
        """Start the child and load the model; gives the inputs it declares."""
        self.loaded = self.ask("load")
        ports = self.loaded["ports"]
        return None if ports is None else [ModelInput.from_json(port) for port in ports]

    def guess(self) -> tuple[list[ModelInput], str]:
        """RunInputs that the forward pass takes, where nothing declares them, and how they were found."""
        found = self.ask("guess")
        return [ModelInput.from_json(port) for port in found["ports"]], found["why"]

    def run(self, samples: Sequence[Arrays], kept: Path, runs: int) -> tuple[ModelRun, LayerCosts]:
        """Everything that is measured. A failure ends it and is part of the record.

        Args:
            kept: Where the samples are for the child.
        """
        write_samples(kept, samples)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # before anything of this runs
        found: dict[str, Any] = {
            "load": None if load is None else round(load, 2),
            "is_busy": load is not None and load > (os.cpu_count() or 1) / 2,
            "latency": None,
            "batches": (),
            "best_batch": None,
            "best_samples_per_s": None,
            "failure": None,
            "estimate_s": None,
            "outputs": (),
            "outputs_repeat": None,
            "cold": None,
            "memory": None,
        }
        layers = no_layers("the model did not run")
        step = "first forward pass"
        try:
            first = self.ask("first", samples=str(kept))
            found |= self._cold(first)
            per_run = first["second_ms"] / 1000
            budget = min(WARM_BUDGET_S, self.limits.seconds / 2)
            found["estimate_s"] = round(min(per_run * runs, budget) + per_run * _OTHER_RUNS, 1)
            self.ask_about(f"{runs} warm runs, batches and layers: about {found['estimate_s']:.0f} s")
            step = "warm runs"
            warm = self.ask("warm", samples=str(kept), runs=runs, seconds=budget)
            found["latency"] = summarise(warm["milliseconds"])
            step = "batches"
            found["batches"] = tuple(self._batches(samples[0], kept, found["latency"]))
            works = [batch for batch in found["batches"] if batch.samples_per_s is not None]
            best = max(works, key=lambda batch: batch.samples_per_s or 0.0)
            found |= {"best_batch": best.batch, "best_samples_per_s": best.samples_per_s}
            found["memory"] = self._memory(warm)
            step = "layers"
            layers = self._layers(kept, runs)
        except ChildFailedError as error:
            found["failure"] = Failure(step=step, message=error.message)
        return self._record(samples, found, runs), layers

    def _record(self, samples: Sequence[Arrays], found: dict[str, Any], runs: int) -> ModelRun:
        return ModelRun(
            runtime=self.loaded["runtime"],
            device=self.loaded["device"],
            place=self.place,
            threads=self.loaded["threads"],
            parameters=self.loaded["parameters"],
            inputs=tuple(observe(name, value) for name, value in samples[0].items()),
            runs_asked=runs,
            **found,
        )

    def _cold(self, first: dict[str, Any]) -> dict[str, Any]:
        parts = {key: round(self.loaded[key], 1) for key in ("process_ms", "import_ms", "load_ms")}
        parts["first_ms"] = round(first["first_ms"], 1)
        return {
            "cold": Cold(**parts, total_ms=round(sum(parts.values()), 1)),
            "outputs": tuple(TensorStats.model_validate(each) for each in first["outputs"]),
            "outputs_repeat": first["repeat"],
            "memory": self._memory(first),
        }

    def _memory(self, answer: dict[str, Any]) -> Memory:
        imported, peak = self.loaded["imported_mb"], answer["peak_mb"]
        return Memory(
            imported_mb=imported,
            peak_mb=peak,
            model_mb=round(peak - imported, 1),
            accelerator_peak_mb=answer["accelerator_peak_mb"],
        )

    def _batches(self, sample: Arrays, kept: Path, single: Latency) -> list[Batch]:
        """Throughput with more samples at once, as far as the model takes them."""
        rows = {value.shape[0] if value.ndim else 0 for value in sample.values()}
        own = rows.pop() if len(rows) == 1 else 0
        found = [_batch(own or 1, single.p50_ms)]
        if own != 1:
            return found
        for batch in _BATCHES[1:]:
            asked = {"batch": batch, "runs": _BATCH_RUNS, "seconds": _BATCH_BUDGET_S}
            answer = self.ask("batch", samples=str(kept), **asked)
            if answer["problem"]:
                found.append(Batch(batch=batch, p50_ms=None, samples_per_s=None, problem=answer["problem"]))
                return found
            found.append(_batch(batch, float(np.median(answer["milliseconds"]))))
        return found

    def _layers(self, kept: Path, runs: int) -> LayerCosts:
        """By a child that may die of it: the figures before are kept then."""
        try:
            return LayerCosts.model_validate(self.ask("layers", samples=str(kept), runs=runs)["layers"])
        except ChildFailedError as error:
            return no_layers(error.message)


def summarise(milliseconds: Sequence[float]) -> Latency:
    """Percentiles of single runs."""
    p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
    return Latency(
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


def no_layers(problem: str) -> LayerCosts:
    """The record where nothing was seen of single layers."""
    return LayerCosts(how="", runs=0, layers=(), macs=None, gmacs=None, counted="", problem=problem)


def _batch(batch: int, ms: float) -> Batch:
    return Batch(batch=batch, p50_ms=round(ms, 3), samples_per_s=round(batch / ms * 1000, 1), problem=None)
