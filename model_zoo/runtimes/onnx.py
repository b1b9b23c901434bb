"""Run an ONNX file on this machine's CPU with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.base.spec import Arrays, TensorSpec
from model_zoo.runtimes.base import HostModel, TimedOutputs, run_each, time_calls
from model_zoo.utils.errors import ModelZooError, UserError

if TYPE_CHECKING:
    import onnxruntime

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    **{f"tensor({name})": name for name in ("int64", "int32", "int16", "int8", "uint16", "uint8", "bool")},
}

_ERROR, _FATAL = 3, 4  # severities, as ONNX Runtime numbers them


class OnnxModel(HostModel):
    """A float or QDQ ONNX file in this process, on the CPU execution provider.

    Args:
        path: The file, with its external data beside it if it has any.

    Raises:
        UserError: The file is missing or damaged, or has dynamic shapes or dtypes the zoo does not know.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"there is no file {self.path}")
        try:
            self._session = open_session(self.path)
        except Exception as error:  # see open_session
            raise UserError(f"{self.path} cannot be loaded as ONNX: {plain_message(error)}") from error
        self.input_spec = {value.name: self._spec(value) for value in self._session.get_inputs()}
        self.output_names = [value.name for value in self._session.get_outputs()]

    def _spec(self, value: Any) -> TensorSpec:
        if value.type not in _DTYPES:
            raise UserError(f"{self.path}: input '{value.name}' is {value.type}, which the zoo does not support")
        if not all(isinstance(size, int) for size in value.shape):
            raise UserError(
                f"{self.path}: input '{value.name}' has the dynamic shape {value.shape}: fix every dimension"
            )
        return TensorSpec(tuple(value.shape), _DTYPES[value.type])

    def _run(self, samples: Sequence[Arrays]) -> TimedOutputs:
        try:
            return run_each(lambda sample: run_session(self._session, self.output_names, sample), samples)
        except ModelZooError as error:
            raise ModelZooError(f"{self.path} failed on the host CPU: {error.message}") from error

    def latencies(self, sample: Arrays, runs: int = 50, seconds: float = 10.0) -> list[float]:
        self.run([sample])
        return time_calls(lambda: self._session.run(self.output_names, sample), runs, seconds)


def open_session(
    file: Path,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    prepare: Callable[[onnxruntime.SessionOptions], None] = lambda _: None,
) -> onnxruntime.InferenceSession:
    """Load an ONNX file so that it computes the same numbers on every x86 CPU, and prints no warnings.

    Left to itself ONNX Runtime adds up 8-bit products in 16 bits where there is AVX2 but no VNNI, and cuts them off:
    that cost ResNet-18 14 dB. A setting forbids that, but then a file in which two nodes share a weight does not load;
    such a file is computed in float between its quantizers. `prepare` may set more options. Errors are those of
    onnxruntime, which has one class per status code and no common base.
    """
    import onnxruntime

    def opened(setting: str, least_severity: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = least_severity
        options.add_session_config_entry(setting, "1")
        prepare(options)
        return onnxruntime.InferenceSession(file, options, providers=list(providers))

    try:
        return opened("session.x64quantprecision", _FATAL)
    except Exception:
        return opened("session.disable_quant_qdq", _ERROR)


def run_session(session: onnxruntime.InferenceSession, names: Sequence[str], sample: Arrays) -> Arrays:
    """Run one sample; returns the outputs of these names. A failure is ONNX Runtime's message in one line."""
    try:
        return dict(zip(names, session.run(names, sample), strict=True))
    except Exception as error:  # see open_session
        raise ModelZooError(plain_message(error)) from error


def plain_message(error: Exception) -> str:
    """An ONNX Runtime error in one line, without its `[ONNXRuntimeError] : 1 : FAIL :` prefix."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0]
    return text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
