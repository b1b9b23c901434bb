"""Child process: one LiteRT file, described, run, or timed on the host CPU. It imports no torch, to start fast."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays, InputSpec, TensorSpec
from model_zoo.runtimes.base import read_samples, write_samples

_WARM_UP_RUNS = 3


class LitertFile:
    """A LiteRT file in this process. A bad file may end the process: open it in a child.

    The signature lists its tensors by name; the graph's own inputs and outputs still have the order of the model.

    Args:
        file: A .tflite with one signature.

    Raises:
        ValueError: It is damaged, or has no signature or several.
    """

    def __init__(self, file: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(file), num_threads=os.cpu_count())
        signatures = list(interpreter.get_signature_list())
        if len(signatures) != 1:
            raise ValueError(f"it has {len(signatures)} signatures, one is needed")
        self._call = interpreter.get_signature_runner(signatures[0])
        self.input_spec = _specs(self._call.get_input_details(), interpreter.get_input_details())
        self.output_spec = _specs(self._call.get_output_details(), interpreter.get_output_details())

    def __call__(self, sample: Arrays) -> Arrays:
        """Run one sample that fits `input_spec`."""
        outputs = self._call(**sample)
        return {name: np.asarray(outputs[name]) for name in self.output_spec}


def _specs(named: dict[str, dict[str, Any]], graph: list[dict[str, Any]]) -> InputSpec:
    """Put the tensors of a signature into the order of the graph. One tensor may have two names."""
    left, specs = dict(named), {}
    for tensor in graph:
        name = next((name for name, details in left.items() if details["index"] == tensor["index"]), None)
        if name is None:
            raise ValueError("its signature does not name every input and output")
        details = left.pop(name)
        shape = tuple(int(size) for size in details["shape"])
        specs[name] = TensorSpec(shape, np.dtype(details["dtype"]).name)
    return specs


def narrow_integers(sample: Arrays, spec: InputSpec) -> Arrays:
    """Give 64-bit integers as 32-bit where the file has 32 bits: the converter keeps no others.

    Raises:
        ValueError: A value does not fit.
    """
    narrowed = {}
    for name, value in sample.items():
        narrowed[name] = value
        if value.dtype == np.int64 and name in spec and spec[name].dtype == "int32":
            narrowed[name] = value.astype(np.int32)
            if not np.array_equal(narrowed[name], value):
                raise ValueError(f"'{name}' holds integers beyond 32 bits, the file takes int32")
    return narrowed


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Do one task with a file: "describe", "run" (samples.npz to outputs.npz) or "time" (the first sample)."""
    model = LitertFile(Path(job["file"]))
    if job["task"] == "describe":
        inputs, outputs = ({n: t.to_json() for n, t in s.items()} for s in (model.input_spec, model.output_spec))
        return {"inputs": inputs, "outputs": outputs}
    samples = read_samples(work_dir / "samples.npz")
    if job["task"] == "time":
        return {"milliseconds": _latencies(model, samples[0], job["runs"], job["seconds"])}
    write_samples(work_dir / "outputs.npz", [model(sample) for sample in samples])
    return {}


def _latencies(model: LitertFile, sample: Arrays, runs: int, seconds: float) -> list[float]:
    for _ in range(_WARM_UP_RUNS):
        model(sample)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or (len(taken) < runs and time.perf_counter() < end):
        started = time.perf_counter()
        model(sample)
        taken.append((time.perf_counter() - started) * 1e3)
    return taken
