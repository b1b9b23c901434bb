"""Run an ONNX file on this machine's CPU with ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_zoo.base.spec import Arrays, InputSpec, TensorSpec, check_arrays
from model_zoo.runtimes.base import CompiledModel
from model_zoo.utils.errors import ModelZooError, UserError

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    **{f"tensor({name})": name for name in ("int64", "int32", "int16", "int8", "uint16", "uint8", "bool")},
}


class OnnxModel(CompiledModel):
    """A float or QDQ ONNX file in this process, on the CPU execution provider.

    Args:
        path: The file, with its external data beside it if it has any.

    Raises:
        UserError: The file is missing or damaged, or has dynamic shapes or dtypes the zoo does not know.
    """

    def __init__(self, path: str | Path) -> None:
        import onnxruntime as ort

        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"there is no file {self.path}")
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only
        try:
            self._session = ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has one exception class per status code and no common base
            raise UserError(f"{self.path} cannot be loaded as ONNX: {plain_message(error)}") from error
        self.input_spec: InputSpec = {value.name: self._spec(value) for value in self._session.get_inputs()}
        self.output_names: list[str] = [value.name for value in self._session.get_outputs()]

    def _spec(self, value: Any) -> TensorSpec:
        if value.type not in _DTYPES:
            raise UserError(f"{self.path}: input '{value.name}' is {value.type}, which the zoo does not support")
        if not all(isinstance(size, int) for size in value.shape):
            raise UserError(
                f"{self.path}: input '{value.name}' has the dynamic shape {value.shape}: fix every dimension"
            )
        return TensorSpec(tuple(value.shape), _DTYPES[value.type])

    def run(self, samples: Sequence[Arrays]) -> list[Arrays]:
        """Run many samples, in order.

        Raises:
            UserError: A sample does not fit `input_spec`.
            ModelZooError: ONNX Runtime failed.
        """
        results: list[Arrays] = []
        for index, sample in enumerate(samples):
            check_arrays(sample, self.input_spec, f"sample {index}")
            try:
                values = self._session.run(self.output_names, sample)
            except Exception as error:  # see __init__
                raise ModelZooError(f"{self.path} failed on the host CPU: {plain_message(error)}") from error
            results.append(dict(zip(self.output_names, values, strict=True)))
        return results

    def latencies(self, sample: Arrays, runs: int = 50, seconds: float = 10.0) -> list[float]:
        """Time single runs on this machine's CPU, all cores, after a warm-up. This says nothing about a device.

        Args:
            runs: At most this many.
            seconds: Start no further run after this long.

        Returns:
            Milliseconds of each run, at least one, copying in and out included.
        """
        self.run([sample])
        times: list[float] = []
        end = time.monotonic() + seconds
        while not times or (len(times) < runs and time.monotonic() < end):
            started = time.perf_counter()
            self._session.run(self.output_names, sample)
            times.append((time.perf_counter() - started) * 1000)
        return times


def plain_message(error: Exception) -> str:
    """An ONNX Runtime error in one line, without its `[ONNXRuntimeError] : 1 : FAIL :` prefix."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0]
    return text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
