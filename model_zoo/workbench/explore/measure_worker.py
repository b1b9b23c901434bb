"""Child process: load a model once, then run, time and look into it, request by request."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import read_samples, write_samples
from model_zoo.utils.errors import first_line
from model_zoo.utils.jobs import peak_memory_bytes
from model_zoo.workbench.explore.figures import BatchFigures, ColdStart, LatencyFigures, MemoryFigures, tensor_stats
from model_zoo.workbench.explore.loaded_model import LoadedModel

_WARM_UP_RUNS = 3
_LAYER_RUNS = 10
_BATCHES = (2, 4, 8)
_BATCH_RUNS, _BATCH_BUDGET_S = 10, 10.0
#: Forward passes beside the warm ones: warm-up, batches (15 samples in each round), layers.
_OTHER_RUNS = 60


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answer requests about one model: the name of a method of `_Measurer` with its arguments. "load" comes first.

    Args:
        job: "kind", "file", "source", "device", "trust", and "started": the time when the process was asked for.
    """
    measurer = _Measurer(job, work_dir)
    return lambda request: getattr(measurer, request.pop("step"))(**request)


class _Measurer:
    """A model with the times and the memory of loading it. Each method answers one request with fields of records."""

    def __init__(self, job: dict[str, Any], work_dir: Path) -> None:
        self._job, self._work_dir = job, work_dir
        self._process_ms = (time.time() - job["started"]) * 1000

    def load(self) -> dict[str, Any]:
        started = time.perf_counter()
        load = _loader(self._job, self._work_dir)
        imported, self._imported_mb = time.perf_counter(), _peak_mb()
        self._model = load()
        self._import_ms, self._load_ms = (imported - started) * 1000, (time.perf_counter() - imported) * 1000
        return self._model.facts.model_dump(mode="json")

    def guess(self) -> dict[str, Any]:
        return self._model.guess_inputs().model_dump(mode="json")

    def first(self, samples: str, runs: int, seconds: float) -> dict[str, Any]:
        """Make the first two runs, and estimate how long all others take."""
        self._samples = read_samples(Path(samples))
        started = time.perf_counter()
        outputs = self._model.run(self._samples[0])
        first = time.perf_counter()
        again = self._model.run(self._samples[0])
        per_run = time.perf_counter() - first
        parts = {"process": self._process_ms, "import": self._import_ms, "load": self._load_ms}
        rounded = {f"{name}_ms": round(ms, 1) for name, ms in {**parts, "first": (first - started) * 1000}.items()}
        return {
            "cold": ColdStart(**rounded, total_ms=round(sum(rounded.values()), 1)).model_dump(),
            "outputs": [tensor_stats(name, value).model_dump() for name, value in outputs.items()],
            "outputs_repeat": all(np.array_equal(again[name], each, equal_nan=True) for name, each in outputs.items()),
            "memory": self._memory(),
            "estimate_s": round(min(per_run * runs, seconds) + per_run * _OTHER_RUNS, 1),
        }

    def warm(self, runs: int, seconds: float) -> dict[str, Any]:
        """Time single runs."""
        self._latency = summarise(self._times(self._samples, runs, seconds))
        return {"latency": self._latency.model_dump(), "memory": self._memory()}

    def batches(self) -> dict[str, Any]:
        """Time runs of more samples at once, as far as the model takes them."""
        rows = {value.shape[0] if value.ndim else 0 for value in self._samples[0].values()}
        own = rows.pop() if len(rows) == 1 else 0
        figures = [_batch_figures(own or 1, self._latency.p50_ms)]
        for count in _BATCHES if own == 1 else ():
            batch = {name: np.repeat(value, count, axis=0) for name, value in self._samples[0].items()}
            problem = self._batch_problem(batch, count)
            if problem:
                figures.append(BatchFigures(batch=count, problem=problem))
                break
            times = self._times([batch], _BATCH_RUNS, _BATCH_BUDGET_S)
            figures.append(_batch_figures(count, float(np.median(times))))
        best = max(figures, key=lambda each: each.samples_per_s or 0.0)
        batches = [each.model_dump() for each in figures]
        return {"batches": batches, "best_batch": best.batch, "best_samples_per_s": best.samples_per_s}

    def layers(self, runs: int) -> dict[str, Any]:
        return self._model.layers(self._samples[0], min(_LAYER_RUNS, runs)).model_dump()

    def onnx(self, samples: str, onnx: str, outputs: str) -> dict[str, Any]:
        """Write the model as ONNX, and its outputs for the first sample."""
        sample = read_samples(Path(samples))[0]
        write_samples(Path(outputs), [self._model.run(sample)])
        self._model.write_onnx(sample, Path(onnx))
        return {}

    def _batch_problem(self, batch: Arrays, count: int) -> str | None:
        try:
            outputs = self._model.run(batch)
        except Exception as error:  # a model of fixed batch says so in its own way
            return first_line(error)
        has_rows = any(value.ndim and value.shape[0] % count == 0 for value in outputs.values())
        return None if has_rows else "no output has as many rows"

    def _times(self, samples: Sequence[Arrays], runs: int, seconds: float) -> list[float]:
        for number in range(min(_WARM_UP_RUNS, runs)):
            self._model.run(samples[number % len(samples)])
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or (len(times) < runs and time.perf_counter() < end):
            started = time.perf_counter()
            self._model.run(samples[len(times) % len(samples)])
            times.append((time.perf_counter() - started) * 1000)
        return times

    def _memory(self) -> dict[str, Any]:
        peak = _peak_mb()
        return MemoryFigures(
            imported_mb=self._imported_mb,
            peak_mb=peak,
            model_mb=round(peak - self._imported_mb, 1),
            accelerator_peak_mb=self._model.accelerator_peak_mb(),
        ).model_dump()


def _loader(job: dict[str, Any], work_dir: Path) -> Callable[[], LoadedModel]:
    """Import what loads the model."""
    kind, file, device = job["kind"], Path(job["file"]), job["device"]
    if kind == "onnx":
        import onnxruntime  # noqa: F401

        from model_zoo.workbench.explore.loaded_file import LoadedOnnx

        return lambda: LoadedOnnx(file, device, work_dir)
    if kind == "tflite":
        from ai_edge_litert import interpreter  # noqa: F401

        from model_zoo.workbench.explore.loaded_file import LoadedLitert

        return lambda: LoadedLitert(file)
    from model_zoo.workbench.explore.loaded_torch import from_program, from_source, from_torchscript

    if kind == "source":
        return lambda: from_source(Path(job["source"]), file, device)
    if kind == "program":
        return lambda: from_program(file, device, job["trust"])
    return lambda: from_torchscript(file, device)


def summarise(milliseconds: Sequence[float]) -> LatencyFigures:
    """Compute the percentiles of single runs."""
    p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
    figures: dict[str, Any] = {
        **{"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "min_ms": min(milliseconds), "max_ms": max(milliseconds)},
        "mean_ms": statistics.fmean(milliseconds),
        "stdev_ms": statistics.stdev(milliseconds) if len(milliseconds) > 1 else 0.0,
    }
    return LatencyFigures(
        **{name: round(value, 3) for name, value in figures.items()},
        runs=len(milliseconds),
        spread=round(p99 / p50, 2),
        milliseconds=tuple(round(value, 4) for value in milliseconds),
    )


def _batch_figures(batch: int, ms: float) -> BatchFigures:
    return BatchFigures(batch=batch, p50_ms=round(ms, 3), samples_per_s=round(batch / ms * 1000, 1))


def _peak_mb() -> float:
    return round(peak_memory_bytes() / 1e6, 1)
