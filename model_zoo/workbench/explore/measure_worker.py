"""Child process: load a model once, then run, time and look into it, request by request."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import read_samples, write_samples
from model_zoo.utils.errors import ModelZooError, first_line
from model_zoo.utils.jobs import peak_memory_bytes
from model_zoo.workbench.explore.figures import tensor_stats
from model_zoo.workbench.explore.loaded_model import DeclaredInputs, LoadedModel

_WARM_UP_RUNS = 3
_LAYER_RUNS = 10


class LoadedFacts(pydantic.BaseModel):
    """What is known once a model is loaded: its description, and milliseconds and megabytes of loading it."""

    runtime: str = ""
    device: str = ""
    threads: int | None = None
    parameters: int | None = None
    declared: DeclaredInputs | None = None
    argument_names: tuple[str, ...] = ()
    process_ms: float = 0.0
    import_ms: float = 0.0
    load_ms: float = 0.0
    imported_mb: float = 0.0


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answer requests about one model. The first one must be "load".

    Args:
        job: "kind", "file", "source", "device", "trust", and "started": the time when the process was asked for.
    """
    process_ms = (time.time() - job["started"]) * 1000
    model: LoadedModel | None = None

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal model
        if request["step"] == "load":
            started = time.perf_counter()
            load = _loader(job, work_dir)
            imported, imported_mb = time.perf_counter(), _peak_mb()
            model = load()
            facts = LoadedFacts(
                **{name: getattr(model, name) for name in ("runtime", "device", "threads", "parameters", "declared")},
                argument_names=tuple(model.argument_names()),
                process_ms=process_ms,
                import_ms=(imported - started) * 1000,
                load_ms=(time.perf_counter() - imported) * 1000,
                imported_mb=imported_mb,
            )
            return facts.model_dump(mode="json")
        if model is None:
            raise ModelZooError("the model was not loaded")
        if request["step"] == "guess":
            return model.guess_inputs().model_dump(mode="json")
        value = _STEPS[request["step"]](model, read_samples(Path(request["samples"])), request)
        return {**value, "peak_mb": _peak_mb(), "accelerator_peak_mb": model.accelerator_peak_mb()}

    return answer


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


def _first(model: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    outputs = model.run(samples[0])
    first = time.perf_counter()
    again = model.run(samples[0])
    second = time.perf_counter()
    return {
        "first_ms": (first - started) * 1000,
        "second_ms": (second - first) * 1000,
        "outputs": [tensor_stats(name, value).model_dump() for name, value in outputs.items()],
        "repeat": all(np.array_equal(again[name], value, equal_nan=True) for name, value in outputs.items()),
    }


def _warm(model: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    for number in range(min(_WARM_UP_RUNS, request["runs"])):
        model.run(samples[number % len(samples)])
    times: list[float] = []
    end = time.perf_counter() + request["seconds"]
    while not times or (len(times) < request["runs"] and time.perf_counter() < end):
        sample = samples[len(times) % len(samples)]
        started = time.perf_counter()
        model.run(sample)
        times.append((time.perf_counter() - started) * 1000)
    return {"milliseconds": times}


def _batch(model: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    """Run the same sample several times over in one forward pass."""
    count = request["batch"]
    batch = {name: np.repeat(value, count, axis=0) for name, value in samples[0].items()}
    try:
        outputs = model.run(batch)
    except Exception as error:  # a model of fixed batch says so in its own way
        return {"problem": first_line(error)}
    if not any(value.ndim and value.shape[0] % count == 0 for value in outputs.values()):
        return {"problem": "no output has as many rows"}
    return {"problem": None, **_warm(model, [batch], request)}


def _layers(model: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    return {"layers": model.layers(samples[0], min(_LAYER_RUNS, request["runs"])).model_dump()}


def _onnx(model: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    write_samples(Path(request["outputs"]), [model.run(samples[0])])
    model.write_onnx(samples[0], Path(request["onnx"]))
    return {}


_STEPS = {"first": _first, "warm": _warm, "batch": _batch, "layers": _layers, "onnx": _onnx}


def _peak_mb() -> float:
    return round(peak_memory_bytes() / 1e6, 1)
