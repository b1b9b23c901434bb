"""Child process: a model, loaded once, then run, timed and looked into, request by request."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import read_samples
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.jobs import peak_memory_bytes
from model_zoo.workbench.explore.figures import TensorStats
from model_zoo.workbench.explore.loaded_model import LoadedModel

_WARM_UP_RUNS = 3
_LAYER_RUNS = 10


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answer requests about one model. The first one must be "load".

    Args:
        job: "kind", "file", "source", "device", "trust", and "started": the time when the process was asked for.
    """
    begun = time.time()
    loaded: LoadedModel | None = None

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal loaded
        if request["step"] == "load":
            loaded, times = _load(job, work_dir)
            return {"process_ms": (begun - job["started"]) * 1000, **times, **_describe(loaded)}
        if loaded is None:
            raise ModelZooError("the model was not loaded")
        if request["step"] == "guess":
            return _guess(loaded)
        samples = read_samples(Path(request["samples"]))
        value = _STEPS[request["step"]](loaded, samples, request)
        return {**value, "peak_mb": _mb(peak_memory_bytes()), "accelerator_peak_mb": loaded.accelerator_peak_mb()}

    return answer


def _load(job: dict[str, Any], work_dir: Path) -> tuple[LoadedModel, dict[str, float]]:
    kind, file, device = job["kind"], Path(job["file"]), job["device"]
    start = time.perf_counter()
    make: Callable[[], LoadedModel]
    if kind == "onnx":
        import onnxruntime  # noqa: F401

        from model_zoo.workbench.explore.loaded_onnx import LoadedOnnx

        make = lambda: LoadedOnnx(file, device, work_dir)  # noqa: E731
    elif kind == "tflite":
        from ai_edge_litert import interpreter  # noqa: F401

        from model_zoo.workbench.explore.loaded_litert import LoadedLitert

        make = lambda: LoadedLitert(file)  # noqa: E731
    else:
        from model_zoo.workbench.explore import loaded_torch as torch_kinds

        make = {
            "source": lambda: torch_kinds.from_source(Path(job["source"]), file, device),
            "program": lambda: torch_kinds.from_program(file, device, job["trust"]),
            "torchscript": lambda: torch_kinds.from_torchscript(file, device),
        }[kind]
    imported, memory = time.perf_counter(), peak_memory_bytes()
    loaded = make()
    times = {"import_ms": (imported - start) * 1000, "load_ms": (time.perf_counter() - imported) * 1000}
    return loaded, {**times, "imported_mb": _mb(memory)}


def _describe(loaded: LoadedModel) -> dict[str, Any]:
    return {
        "runtime": loaded.runtime,
        "device": loaded.device,
        "threads": loaded.threads,
        "parameters": loaded.parameters,
        "ports": None if loaded.ports is None else [port.to_json() for port in loaded.ports],
        "ports_from": loaded.ports_from,
        "names": _argument_names(loaded),
    }


def _argument_names(loaded: LoadedModel) -> list[str]:
    if loaded.ports is not None:
        return [port.name for port in loaded.ports]
    from model_zoo.workbench.explore.loaded_torch import LoadedTorch, forward_names

    return forward_names(loaded.module) if isinstance(loaded, LoadedTorch) else []


def _guess(loaded: LoadedModel) -> dict[str, Any]:
    from model_zoo.workbench.explore.guess import guess_ports
    from model_zoo.workbench.explore.loaded_torch import LoadedTorch

    if not isinstance(loaded, LoadedTorch):
        raise ModelZooError("only a torch module leaves its inputs open")
    ports, why = guess_ports(loaded.module)
    return {"ports": [port.to_json() for port in ports], "why": why}


def _first(loaded: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    outputs = loaded.run(samples[0])
    first = time.perf_counter()
    again = loaded.run(samples[0])
    second = time.perf_counter()
    return {
        "first_ms": (first - started) * 1000,
        "second_ms": (second - first) * 1000,
        "outputs": [observe(name, value).model_dump() for name, value in outputs.items()],
        "repeat": all(np.array_equal(again[name], value, equal_nan=True) for name, value in outputs.items()),
    }


def _warm(loaded: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    for number in range(min(_WARM_UP_RUNS, request["runs"])):
        loaded.run(samples[number % len(samples)])
    times: list[float] = []
    end = time.perf_counter() + request["seconds"]
    while not times or (len(times) < request["runs"] and time.perf_counter() < end):
        sample = samples[len(times) % len(samples)]
        started = time.perf_counter()
        loaded.run(sample)
        times.append((time.perf_counter() - started) * 1000)
    return {"milliseconds": times}


def _batch(loaded: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    """The same sample several times over in one forward pass."""
    count = request["batch"]
    batch = {name: np.repeat(value, count, axis=0) for name, value in samples[0].items()}
    try:
        outputs = loaded.run(batch)
    except Exception as error:  # a model of fixed batch says so in its own way
        return {"problem": (str(error).strip() or type(error).__name__).splitlines()[0]}
    if not any(value.ndim and value.shape[0] % count == 0 for value in outputs.values()):
        return {"problem": "no output has as many rows"}
    timed = _warm(loaded, [batch], request)
    return {"problem": None, "milliseconds": timed["milliseconds"]}


def _layers(loaded: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    return {"layers": loaded.layers(samples[0], min(_LAYER_RUNS, request["runs"])).model_dump()}


def _onnx(loaded: LoadedModel, samples: list[Arrays], request: dict[str, Any]) -> dict[str, Any]:
    loaded.write_onnx(samples[0], Path(request["onnx"]))
    return {}


_STEPS: dict[str, Callable[[LoadedModel, list[Arrays], dict[str, Any]], dict[str, Any]]] = {
    "first": _first,
    "warm": _warm,
    "batch": _batch,
    "layers": _layers,
    "onnx": _onnx,
}


def observe(name: str, value: np.ndarray) -> TensorStats:
    """What a tensor was seen to hold."""
    numbers = value[np.isfinite(value)] if value.dtype.kind in "fc" else value
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (None, None)
    return TensorStats(
        name=name,
        shape=value.shape,
        dtype=value.dtype.name,
        low=None if low is None else float(f"{low:.6g}"),
        high=None if high is None else float(f"{high:.6g}"),
        finite=bool(numbers.size == value.size),
    )


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
