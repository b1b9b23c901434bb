"""Lower a captured ONNX file: graph passes, and quantization on calibration samples."""

from __future__ import annotations

from pathlib import Path

from model_zoo.targets.precision import Precision
from model_zoo.toolchains.base import Lowered, LoweringRequest
from model_zoo.toolchains.local.quantize import prepare_onnx, quantize_onnx


def lower_onnx(request: LoweringRequest, out_dir: Path) -> Lowered:
    """Bring an ONNX file into its target precision; its inputs and outputs stay in torch's layout."""
    if request.precision is Precision.FLOAT:
        built = prepare_onnx(request.source, out_dir=out_dir, stem=request.component)
    else:
        built = quantize_onnx(
            request.source,
            precision=request.precision,
            calibration=request.calibration(),
            out_dir=out_dir,
            stem=request.component,
            mixed_percentage=request.mixed_percentage,
            assignment=request.assignment,
            outputs_16bit=request.outputs_16bit,
        )
    return Lowered(file=built.file.name, settings=built.settings, peak_memory_bytes=built.peak_memory_bytes)
