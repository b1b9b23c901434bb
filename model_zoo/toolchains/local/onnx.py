"""The runtime onnx: the lowered ONNX file as it is, which ONNX Runtime compiles on the device."""

from __future__ import annotations

import shutil
from pathlib import Path

from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.runtimes.qnn import available
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Compiled, CompileRequest, RuntimeSupport
from model_zoo.toolchains.local.qnn import QnnRuntime, tool_versions
from model_zoo.toolchains.local.quantize import lower_onnx


class OnnxRuntime:
    """An ONNX file for ONNX Runtime on the device."""

    support = RuntimeSupport(
        TargetRuntime.ONNX,
        ".onnx",
        "onnx",
        tuple(Precision),
        inspected=True,
        code={
            "lower": ("model_zoo.toolchains.local.quantize",),
            "layout": ("model_zoo.toolchains.local.channels_last",),
            "host": ("model_zoo.runtimes.onnx",),
            "compile": ("model_zoo.toolchains.local.qnn",),
            "sensitivity": ("model_zoo.toolchains.local.sensitivity",),
            "layers": ("model_zoo.toolchains.local.layerwise",),
        },
    )

    versions = staticmethod(tool_versions)  # QNN is not needed
    lower = staticmethod(lower_onnx)
    load = staticmethod(OnnxModel)

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        """Keep the lowered file. For a chipset, say what of it the NPU takes, and run it on the emulator."""
        name = f"{request.component}{self.support.suffix}"
        reason = _unchecked_reason(request.precision, request.chipset)
        check = QnnRuntime(self.support, "context", files=())
        compiled = Compiled(files=(), note=reason) if reason else check.compile(request, out_dir)
        shutil.copyfile(request.lowered, out_dir / name)
        return compiled.model_copy(update={"files": (name,)})


def _unchecked_reason(precision: Precision, chipset: Chipset | None) -> str:
    """Why the NPU is not asked; empty if it is."""
    if chipset is None:
        return "placement not checked: no chipset was named"
    if not available():
        return "placement not checked: onnxruntime-qnn is not installed"
    if not chipset.has_htp or not (precision.is_quantized or chipset.fp16):
        return f"runs on the CPU of {chipset.name}: its NPU does not take this precision or QNN at all"
    return ""
