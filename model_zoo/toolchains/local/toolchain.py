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
    """What the toolchain does for one runtime; the methods are those of `Toolchain`."""

    @property
    def support(self) -> RuntimeSupport: ...

    def versions(self) -> dict[str, str]: ...

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled: ...


class LoweredRuntime(LocalRuntime, Protocol):
    """A runtime that does not share the lowered files of another."""

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered: ...

    def load(self, lowered: Path) -> HostModel: ...


_LOWERED: tuple[LoweredRuntime, ...] = (OnnxRuntime(), LitertRuntime())
_ROWS: dict[TargetRuntime, LocalRuntime] = {row.support.runtime: row for row in (*qnn.RUNTIMES, *_LOWERED)}


def _lowered(runtime: TargetRuntime) -> LoweredRuntime:
    shared = _ROWS[runtime].support.lowers_as or runtime
    return next(row for row in _LOWERED if row.support.runtime is shared)


class LocalToolchain:
    """onnxruntime's quantizer, QNN through onnxruntime-qnn, and LiteRT."""

    name = "local"
    arrange = staticmethod(write_channels_last)
    load_emulator = staticmethod(HtpEmulator)
    sensitivity = staticmethod(measure_sensitivity)
    layer_errors = staticmethod(measure_layers)

    def support(self, runtime: TargetRuntime) -> RuntimeSupport:
        """What it does for a runtime, or UserError."""
        if runtime not in _ROWS:
            raise unknown_name("runtime", runtime, _ROWS, "model-zoo runtimes")
        return _ROWS[runtime].support

    def versions(self, runtime: TargetRuntime) -> dict[str, str]:
        """Versions of the tools that make files for a runtime, or UserError with the install command."""
        return _ROWS[runtime].versions()

    def lower(self, request: LoweringRequest, out_dir: Path) -> Lowered:
        """Bring a captured model into its target precision."""
        return _lowered(request.runtime).lower(request, out_dir)

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        """Compile for a target, and run the samples on the emulator where there is one."""
        return _ROWS[request.runtime].compile(request, out_dir)

    def load(self, lowered: Path, runtime: TargetRuntime) -> HostModel:
        """Load a lowered file for the host CPU."""
        return _lowered(runtime).load(lowered)

    def read_back(self, file: Path, runtime: TargetRuntime, chipset: Chipset | None) -> Compiled:
        """What a context binary says of itself, if it is for this chipset; of other files nothing is known."""
        if runtime is TargetRuntime.QNN_CONTEXT_BINARY and chipset is not None:
            return Compiled(files=(file.name,), readback=qnn.read_back(file, chipset))
        return Compiled(files=(file.name,), note="precompiled: bundled as it is, nothing here can check it")
