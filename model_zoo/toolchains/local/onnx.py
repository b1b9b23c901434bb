"""The runtime onnx: the lowered ONNX file as it is, which ONNX Runtime compiles on the device."""

from __future__ import annotations

import shutil
from pathlib import Path

from model_zoo.runtimes.qnn import available
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Compiled, CompileRequest, RuntimeSupport
from model_zoo.toolchains.local.qnn import QnnRuntime, tool_versions

_SUPPORT = RuntimeSupport(
    TargetRuntime.ONNX,
    ".onnx",
    "onnx",
    tuple(Precision),
    inspected=True,
    code={
        "lower": ("model_zoo.toolchains.local.quantize",),
        "layout": ("model_zoo.toolchains.local.channels_last",),
        "host": ("model_zoo.runtimes.onnx",),
        "compile": (__name__,),
        "sensitivity": ("model_zoo.toolchains.local.sensitivity",),
        "layers": ("model_zoo.toolchains.local.layerwise",),
    },
)


class OnnxRuntime(QnnRuntime):
    """An ONNX file for ONNX Runtime on the device; QNN only checks it."""

    def versions(self) -> dict[str, str]:
        """Versions of the tools; QNN is not needed."""
        return tool_versions()

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        """Keep the lowered file. For a chipset, say what of it the NPU takes, and run it on the emulator."""
        name = f"{request.component}{self.support.suffix}"
        chipset, compiled = request.chipset, Compiled(files=(name,))
        if chipset is None:
            reason = "placement not checked: no chipset was named"
        elif not available():
            reason = "placement not checked: onnxruntime-qnn is not installed"
        elif not chipset.has_htp or not (request.precision.is_quantized or chipset.fp16):
            reason = f"runs on the CPU of {chipset.name}: its NPU does not take this precision or QNN at all"
        else:
            compiled, reason = super().compile(request, out_dir), ""
        shutil.copyfile(request.lowered, out_dir / name)
        return compiled.model_copy(update={"files": (name,), "note": compiled.note or reason})


RUNTIME = OnnxRuntime(_SUPPORT, "context", ())
