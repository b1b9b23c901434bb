"""The local toolchain: packages from the registry, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from model_zoo.runtimes.base import HostModel
from model_zoo.runtimes.qnn import HtpEmulator
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Compiled, CompileRequest, Lowered, LoweringRequest, RuntimeSupport
from model_zoo.toolchains.local import qnn
from model_zoo.toolchains.local.channels_last import write_channels_last
from model_zoo.toolchains.local.layerwise import measure_layers
from model_zoo.toolchains.local.litert import LitertRuntime
from model_zoo.toolchains.local.onnx import OnnxRuntime
from model_zoo.toolchains.local.sensitivity import measure_sensitivity
from model_zoo.utils.errors import unknown_name


class LocalRuntime(Protocol):
    """Everything that the toolchain does for one runtime; its methods are those of `Toolchain`."""

    @property
    def support(self) -> RuntimeSupport: ...

    def versions(self) -> dict[str, str]: ...

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered: ...

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled: ...

    def load(self, lowered: Path) -> HostModel: ...


_ROWS: tuple[LocalRuntime, ...] = (*qnn.RUNTIMES, OnnxRuntime(), LitertRuntime())
_RUNTIMES = {row.support.runtime: row for row in _ROWS}


class LocalToolchain:
    """onnxruntime's quantizer, QNN through onnxruntime-qnn, and LiteRT."""

    name = "local"
    arrange = staticmethod(write_channels_last)
    load_emulator = staticmethod(HtpEmulator)
    sensitivity = staticmethod(measure_sensitivity)
    layer_errors = staticmethod(measure_layers)

    def support(self, runtime: TargetRuntime) -> RuntimeSupport:
        """What it does for a runtime, or UserError."""
        if runtime not in _RUNTIMES:
            raise unknown_name("runtime", runtime, _RUNTIMES, "model-zoo runtimes")
        return _RUNTIMES[runtime].support

    def versions(self, runtime: TargetRuntime) -> dict[str, str]:
        """Versions of the tools that make files for a runtime, or UserError with the install command."""
        return _RUNTIMES[runtime].versions()

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        """Bring a captured model into its target precision."""
        return _RUNTIMES[request.runtime].lower(request, out_dir)

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        """Compile for a target, and run the samples on the emulator where there is one."""
        return _RUNTIMES[request.runtime].compile(request, out_dir)

    def load(self, lowered: Path, runtime: TargetRuntime) -> HostModel:
        """Load a lowered file for the host CPU."""
        return _RUNTIMES[runtime].load(lowered)

    def read_back(self, file: Path, runtime: TargetRuntime, chipset: Chipset | None) -> Compiled:
        """What a context binary says of itself, if it is for this chipset; of other files nothing is known."""
        if runtime is TargetRuntime.QNN_CONTEXT_BINARY and chipset is not None:
            return Compiled(files=(file.name,), readback=qnn.read_back(file, chipset))
        return Compiled(files=(file.name,), note="precompiled: bundled as it is, nothing here can check it")
