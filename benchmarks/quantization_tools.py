"""One quantization by our quantizer or by onnxruntime's, as its own process.

    python quantization_tools.py FLOAT.onnx CALIBRATION.npz SCHEME ours|onnxruntime OUT_FOLDER

OUT_FOLDER gets `quantized.onnx`, and `done.json` when it was ready.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_zoo.runtimes.base import read_samples


def ours(float_onnx: Path, calibration: Path, scheme: str, out: Path) -> dict[str, Any]:
    """As an export does it, with the outputs in 16 bits that the model asks for."""
    from model_zoo.targets.precision import Precision
    from model_zoo.toolchains.local.quantize import quantize_onnx

    samples = read_samples(calibration)
    wide = json.loads((float_onnx.parent / "row.json").read_text())["facts"]["outputs_16bit"]
    made = quantize_onnx(
        float_onnx,
        precision=Precision(scheme),
        calibration=samples,
        out_dir=out,
        stem="quantized",
        outputs_16bit=wide,
    )
    return made.settings


def onnxruntime(float_onnx: Path, calibration: Path, scheme: str, out: Path) -> dict[str, Any]:
    """The steps of onnxruntime's documentation of its QNN execution provider."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples = iter(read_samples(calibration))

        def get_next(self) -> dict[str, Any] | None:
            return next(self.samples, None)

    weights = {"w8a8": QuantType.QInt8, "w8a16": QuantType.QInt8, "w4a16": QuantType.QInt4}[scheme]
    activations = QuantType.QUInt8 if scheme == "w8a8" else QuantType.QUInt16
    prepared = out / "prepared.onnx"
    if not qnn_preprocess_model(float_onnx, prepared):
        prepared.write_bytes(float_onnx.read_bytes())
    config = get_qnn_qdq_config(
        prepared,
        Samples(),
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=activations,
        weight_type=weights,
        per_channel=True,
    )
    quantize(prepared, out / "quantized.onnx", config)
    return {"activation_type": activations.name, "weight_type": weights.name}


TOOLS: dict[str, Callable[[Path, Path, str, Path], dict[str, Any]]] = {"ours": ours, "onnxruntime": onnxruntime}


if __name__ == "__main__":
    file, calibration_file, scheme_name, tool = sys.argv[1:5]
    folder = Path(sys.argv[5])
    settings = TOOLS[tool](Path(file), Path(calibration_file), scheme_name, folder)
    (folder / "done.json").write_text(json.dumps({"at": time.time(), "settings": settings}))
