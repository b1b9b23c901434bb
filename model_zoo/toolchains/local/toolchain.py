"""The local toolchain: packages from the registry, on this machine."""

from __future__ import annotations

from pathlib import Path

from model_zoo.runtimes.base import HostModel
from model_zoo.runtimes.qnn import HtpEmulator
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Compiled, CompileRequest, Lowered, LoweringRequest, RuntimeSupport
from model_zoo.toolchains.local import onnx, qnn
from model_zoo.toolchains.local.channels_last import write_channels_last
from model_zoo.toolchains.local.layerwise import measure_layers
from model_zoo.toolchains.local.litert import LitertRuntime
from model_zoo.toolchains.local.sensitivity import measure_sensitivity
from model_zoo.utils.errors import unknown_name

_ROWS = {row.support.runtime: row for row in (*qnn.RUNTIMES, onnx.RUNTIME, LitertRuntime())}


class LocalToolchain:
    """onnxruntime's quantizer, QNN through onnxruntime-qnn, and LiteRT."""

    name = "local"
    arrange = staticmethod(write_channels_last)
    load_emulator = staticmethod(HtpEmulator)
    sensitivity = staticmethod(measure_sensitivity)
    layer_errors = staticmethod(measure_layers)

    def support(self, runtime: TargetRuntime) -> RuntimeSupport:
        if runtime not in _ROWS:
            raise unknown_name("runtime", runtime, _ROWS, "model-zoo runtimes")
        return _ROWS[runtime].support

    def versions(self, runtime: TargetRuntime) -> dict[str, str]:
        return _ROWS[runtime].versions()

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        return _ROWS[request.runtime].lower(request, out_dir)

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        return _ROWS[request.runtime].compile(request, out_dir)

    def load(self, lowered: Path, runtime: TargetRuntime) -> HostModel:
        return _ROWS[runtime].load(lowered)

    def read_back(self, file: Path, runtime: TargetRuntime, chipset: Chipset | None) -> Compiled:
        """What a context binary says of itself, if it is for this chipset; of other files nothing is known."""
        if runtime is TargetRuntime.QNN_CONTEXT_BINARY and chipset is not None:
            return Compiled(files=(file.name,), readback=qnn.read_back(file, chipset))
        return Compiled(files=(file.name,), note="precompiled: bundled as it is, nothing here can check it")
