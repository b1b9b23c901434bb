"""Builds for tests: a file compiled by one runtime of the local toolchain, without the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import read_samples
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import EMULATOR_OUTPUTS, Compiled, CompileRequest, Lowered, LoweringRequest
from model_zoo.toolchains.local.litert import LitertRuntime
from model_zoo.toolchains.local.onnx import RUNTIME
from model_zoo.toolchains.local.placement import Placement
from model_zoo.toolchains.local.qnn import RUNTIMES, QnnRuntime
from model_zoo.utils.jobs import Limits


@dataclass(frozen=True)
class QnnBuild:
    """What a compile gave.

    Args:
        files: Main file first.
        outputs: Of the emulator, one for each sample; None where nothing was run.
    """

    compiled: Compiled
    files: tuple[Path, ...]
    outputs: list[Arrays] | None

    @property
    def settings(self) -> dict[str, str]:
        """Compiler options that took effect."""
        return self.compiled.settings

    @property
    def placement(self) -> Placement:
        """Where the nodes run."""
        assert self.compiled.npu_nodes is not None and self.compiled.nodes is not None
        return Placement(self.compiled.npu_nodes, self.compiled.nodes, self.compiled.fallbacks)


def compile_qnn(
    onnx: Path,
    *,
    chipset: Chipset,
    precision: Precision,
    runtime: TargetRuntime,
    out_dir: Path,
    stem: str,
    inputs: Sequence[Arrays],
    limits: Limits | None = None,
) -> QnnBuild:
    """Compile for a chipset's NPU; the runtime onnx is compiled only to check it."""
    kinds = {each.support.runtime: each for each in (*RUNTIMES, RUNTIME)}
    kind = QnnRuntime(**vars(kinds[runtime]))
    request = CompileRequest(onnx, runtime, precision, chipset, lambda: inputs, stem)
    compiled = replace(kind, limits=limits or kind.limits).compile(request, out_dir)
    emulated = out_dir / EMULATOR_OUTPUTS
    outputs = read_samples(emulated) if emulated.exists() else None
    emulated.unlink(missing_ok=True)
    return QnnBuild(compiled, tuple(out_dir / name for name in compiled.files), outputs)


@dataclass(frozen=True)
class LitertBuild:
    """A lowered .tflite file."""

    file: Path
    lowered: Lowered


def compile_tflite(
    program: Path,
    *,
    input_names: list[str],
    output_names: list[str],
    precision: Precision,
    out_dir: Path,
    stem: str,
    calibration: Sequence[Arrays] = (),
    limits: Limits | None = None,
) -> LitertBuild:
    """Convert an exported program."""
    request = LoweringRequest(
        program, TargetRuntime.TFLITE, precision, input_names, output_names, lambda: calibration, 0.0, stem
    )
    runtime = LitertRuntime()
    lowered = replace(runtime, limits=limits or runtime.limits).lower(request, out_dir)
    return LitertBuild(out_dir / lowered.file, lowered)
