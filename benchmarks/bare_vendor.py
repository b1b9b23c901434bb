"""The same work as an export with nothing around it: torch.onnx.export, quantize, one compile, one emulated run."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import torch


class Noise:
    """Calibration data as onnxruntime's quantizer reads it."""

    def __init__(self, name: str, samples: list[np.ndarray]) -> None:
        self.samples = iter({name: sample} for sample in samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.samples, None)


def main(model_id: str, soc_model: str, arguments: dict[str, str]) -> None:
    folder = Path(tempfile.mkdtemp())
    model = import_module(f"model_zoo.models.{model_id}.model").Model.from_pretrained(weights="random", **arguments)
    spec = model.get_input_spec()["image"]
    samples = [np.random.default_rng(seed).random(spec.shape, dtype=np.float32) for seed in range(4)]
    names = model.get_output_names()
    with torch.no_grad():
        torch.onnx.export(
            model,
            (torch.from_numpy(samples[0]),),
            str(folder / "model.onnx"),
            dynamo=True,
            input_names=["image"],
            output_names=names,
            external_data=False,
            verbose=False,
        )
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model

    source = folder / "model.onnx"
    if qnn_preprocess_model(str(source), str(folder / "prepared.onnx")):
        source = folder / "prepared.onnx"
    config = get_qnn_qdq_config(
        str(source),
        Noise("image", samples),
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    quantize(str(source), str(folder / "qdq.onnx"), config)

    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    ort.register_execution_provider_library("QNNExecutionProvider", qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == "QNNExecutionProvider"]
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_session_config_entry("ep.context_enable", "1")
    options.add_session_config_entry("ep.context_file_path", str(folder / "model_ctx.onnx"))
    options.add_session_config_entry("ep.context_embed_mode", "0")
    settings = {"backend_path": qnn.get_qnn_htp_path(), "soc_model": soc_model, "vtcm_mb": "8"}
    settings["offload_graph_io_quantization"] = "0"
    options.add_provider_for_devices(devices, settings)
    session = ort.InferenceSession(str(folder / "qdq.onnx"), sess_options=options)
    outputs = session.run(None, {"image": samples[0]})
    print({name: value.shape for name, value in zip(names, outputs, strict=True)})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], dict(argument.split("=", 1) for argument in sys.argv[3:]))
