"""Run a LiteRT file on the host CPU, in a child process."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays, InputSpec, TensorSpec, check_arrays
from model_zoo.runtimes.base import HostModel, read_samples, time_calls
from model_zoo.runtimes.child import INPUTS, ChildModel, run_in_child
from model_zoo.utils.errors import UserError
from model_zoo.utils.jobs import ChildFailedError, Limits

_LIMITS = Limits(seconds=600.0)
_WARM_UP_RUNS = 3


def require_packages(*packages: str) -> None:
    """Refuse, with the pip line, if a package of the extra `tflite` is absent."""
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        raise UserError(
            f"the runtime tflite needs {', '.join(absent)}, not installed here",
            'run `pip install ".[tflite]"` in the clone',
        )


class LitertModel(ChildModel, HostModel):
    """A .tflite file as a callable on torch tensors, in the layout of the file. It runs in a child process.

    Inputs and outputs are in the order of the model. The converter turns 64-bit integers into 32-bit ones: inputs of
    either width are taken, outputs stay 32-bit.

    Args:
        path: A file with one signature.
        limits: What one call may use.

    Raises:
        UserError: The file is missing, damaged, or no LiteRT file, or LiteRT is not installed.
    """

    def __init__(self, path: str | Path, limits: Limits = _LIMITS) -> None:
        require_packages("ai_edge_litert")
        self.path = Path(path).resolve()
        if not self.path.is_file():
            raise UserError(f"there is no file {path}")
        with self.path.open("rb") as file:
            if file.read(8)[4:] != b"TFL3":
                raise UserError(f"{path} is no LiteRT file")
        job, what = {"file": str(self.path)}, f"run {self.path.name} on the host CPU"
        super().__init__(__name__, job, limits, what)
        try:
            tensors = self._ask({"task": "describe"})
        except ChildFailedError as error:
            raise UserError(f"{path} cannot be loaded as LiteRT: {error.message}") from error
        self.input_spec, self.output_spec = _spec(tensors["inputs"]), _spec(tensors["outputs"])
        self.output_names = list(self.output_spec)

    def latencies(self, sample: Arrays, runs: int = 50, seconds: float = 10.0) -> list[float]:
        request = {"task": "time", "runs": runs, "seconds": seconds}
        return [float(value) for value in self._ask(request, [self._fitted(sample, "sample 0")])["milliseconds"]]

    def _fitted(self, sample: Arrays, where: str) -> Arrays:
        try:
            narrowed = narrow_integers(sample, self.input_spec)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
        check_arrays(narrowed, self.input_spec, where)
        return narrowed


def _spec(tensors: dict[str, dict[str, object]]) -> InputSpec:
    return {name: TensorSpec.from_json(fields) for name, fields in tensors.items()}


class LitertFile:
    """A LiteRT file in this process. A bad file may end the process: open it in a child.

    Its one signature lists its tensors by name; the graph's own inputs and outputs still have the order of the model. A
    file that is damaged, or has not one signature, is a `ValueError`.
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
    """Make 64-bit integers 32-bit where the file has 32 bits; a `ValueError` names those that do not fit."""
    wide = {n: v for n, v in sample.items() if v.dtype == np.int64 and n in spec and spec[n].dtype == "int32"}
    narrow = {name: value.astype(np.int32) for name, value in wide.items()}
    for name, value in narrow.items():
        if not np.array_equal(value, wide[name]):
            raise ValueError(f"'{name}' holds integers beyond 32 bits, the file takes int32")
    return {**sample, **narrow}


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Load `file`; each request's task is "describe", "run" (all samples) or "time" (one sample)."""
    model = LitertFile(Path(job["file"]))

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["task"] == "describe":
            sides = {"inputs": model.input_spec, "outputs": model.output_spec}
            return {side: {name: t.to_json() for name, t in spec.items()} for side, spec in sides.items()}
        if request["task"] == "run":
            return {"seconds": run_in_child(model, work_dir)}
        (sample,) = read_samples(work_dir / INPUTS)
        for _ in range(_WARM_UP_RUNS):
            model(sample)
        return {"milliseconds": time_calls(lambda: model(sample), request["runs"], request["seconds"])}

    return answer
