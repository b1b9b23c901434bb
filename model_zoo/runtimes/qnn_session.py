"""ONNX Runtime sessions on the QNN execution provider. For child processes only: the provider can abort its process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_zoo.runtimes.base import read_samples, write_samples
from model_zoo.runtimes.onnx import plain_message
from model_zoo.utils.errors import ModelZooError

PROVIDER = "QNNExecutionProvider"


def open_session(
    model: Path, provider_options: Mapping[str, str], config: Mapping[str, str], log_severity: int = 2
) -> Any:
    """Open an InferenceSession on the HTP backend, which compiles the model if it is not compiled yet.

    Args:
        model: ONNX, or the EPContext wrapper of a context binary that lies beside it.
        provider_options: Of the QNN provider, without the backend path.
        config: Session configuration entries.
        log_severity: 0 logs why each node was taken or refused, 2 only warnings.

    Raises:
        ModelZooError: ONNX Runtime's message in one line.
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
    """Open a session that runs a compiled context binary on the emulator, and nothing anywhere else.

    Args:
        wrapper: EPContext model beside its binary.
        soc_model: The chipset the binary names.
    """
    return open_session(wrapper, {"soc_model": str(soc_model)}, {"session.disable_cpu_ep_fallback": "1"})


def run_samples(session: Any, inputs: Path, outputs: Path) -> float:
    """Run every sample of one .npz and write the outputs as another; gives the seconds that running took."""
    names = [value.name for value in session.get_outputs()]
    results = []
    seconds = 0.0
    for sample in read_samples(inputs):
        started = time.perf_counter()
        try:
            values = session.run(names, sample)
        except Exception as error:  # see open_session
            raise ModelZooError(plain_message(error)) from error
        seconds += time.perf_counter() - started
        results.append(dict(zip(names, values, strict=True)))
    write_samples(outputs, results)
    return seconds
