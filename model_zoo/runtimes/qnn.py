"""QNN context binaries on the x86 emulator of the Hexagon NPU, in a child process, which the provider can abort."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model_zoo.base.spec import TensorSpec
from model_zoo.runtimes.child import ChildModel, run_in_child
from model_zoo.runtimes.context_binary import Readback, read_context_binary
from model_zoo.runtimes.epcontext import EpContext, write_wrapper
from model_zoo.runtimes.onnx import plain_message, run_session
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.jobs import Limits

#: Name of the execution provider.
PROVIDER = "QNNExecutionProvider"
_PACKAGE = "onnxruntime-qnn==2.7.0"
_PLATFORMS = (("Linux", "x86_64"), ("Windows", "AMD64"), ("Windows", "ARM64"))


def available() -> bool:
    """Whether the QNN package is installed."""
    return find_spec("onnxruntime_qnn") is not None


def require_qnn() -> None:
    """Refuse, with the pip line, if the QNN package is absent, or say that there is none for this machine."""
    if available():
        return
    machine = (platform.system(), platform.machine())
    if machine not in _PLATFORMS:
        raise UserError(
            f"QNN needs Linux on x86-64 or Windows, this is {' '.join(machine)}", "use the runtime tflite or onnx"
        )
    raise UserError("QNN needs onnxruntime-qnn, not installed here", f"run `pip install {_PACKAGE}`")


class HtpEmulator(ChildModel):
    """A context binary on the emulator of the NPU it was compiled for. The time it takes says nothing about a device.

    Args:
        path: A context binary (.bin), or the EPContext model (.onnx) that names the binary beside it.
        limits: For the child process; the time is that of one `run`.

    Raises:
        UserError: The file is missing, or is no such file, or QNN is not installed.
        ModelZooError: The binary is damaged, or holds several graphs, which the emulator cannot run.
    """

    def __init__(self, path: str | Path, limits: Limits | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"there is no file {self.path}")
        require_qnn()
        wrapper = EpContext(self.path) if self.path.suffix == ".onnx" else None
        binary = wrapper.binary if wrapper else self.path
        job = {"binary": str(binary.resolve()), "wrapper": str(self.path.resolve()) if wrapper else None}
        super().__init__(__name__, job, limits or Limits(), f"emulate {self.path.name}")
        self.readback = Readback.model_validate(self._ask({"task": "describe"}))
        if len(self.readback.graphs) != 1:
            self.close()
            raise ModelZooError(f"{binary} holds {len(self.readback.graphs)} graphs; the emulator runs one")
        self.input_spec = {t.name: TensorSpec(t.shape, t.dtype) for t in self.readback.graphs[0].inputs}
        self.output_names = [tensor.name for tensor in self.readback.graphs[0].outputs]
        if wrapper:
            self.input_spec, self.output_names = wrapper.input_spec, wrapper.output_names


def open_session(
    model: Path, provider_options: Mapping[str, str], config: Mapping[str, str], log_severity: int = 2
) -> Any:
    """Open an InferenceSession on the HTP backend, which compiles the model if it is not compiled yet.

    For child processes only, as all that follows. A failure is a `ModelZooError` with ONNX Runtime's message.

    Args:
        log_severity: 0 logs why each node was taken or refused, 2 only warnings.
    """
    import onnxruntime as ort
    import onnxruntime_qnn

    # The provider is a plugin: InferenceSession(providers=[...]) would give a CPU session without a word.
    if PROVIDER not in {device.ep_name for device in ort.get_ep_devices()}:
        ort.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    options = ort.SessionOptions()
    options.log_severity_level = log_severity
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    backend = {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
    options.add_provider_for_devices(devices, {**backend, **provider_options})
    try:
        return ort.InferenceSession(model, options)
    except Exception as error:  # onnxruntime has one exception class per status code and no common base
        raise ModelZooError(plain_message(error)) from error


def open_context(wrapper: Path, soc_model: int) -> Any:
    """Open a session that runs a binary, compiled for a chipset, on the emulator, and nothing anywhere else."""
    return open_session(wrapper, {"soc_model": str(soc_model)}, {"session.disable_cpu_ep_fallback": "1"})


def run_samples(session: Any, folder: Path) -> float:
    """Run the samples in a child's folder with ONNX Runtime, as `run_in_child` does."""
    names = [value.name for value in session.get_outputs()]
    return run_in_child(lambda sample: run_session(session, names, sample), folder)


def serve(job: dict[str, Any], work_dir: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Read `binary` back; each request's task is "describe", or "run", for which the binary is loaded once."""
    readback = read_context_binary(Path(job["binary"]))
    session: Any = None

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal session
        if request["task"] == "describe":
            return readback.model_dump(mode="json")
        if session is None:
            wrapper = Path(job["wrapper"] or work_dir / "context.onnx")
            if not job["wrapper"]:  # ONNX Runtime takes a binary only through a wrapper, and only from its own folder
                shutil.copyfile(job["binary"], work_dir / "context.bin")
                write_wrapper(readback, "context.bin", wrapper)
            session = open_context(wrapper, readback.soc_model)
        return {"seconds": run_samples(session, work_dir)}

    return answer
