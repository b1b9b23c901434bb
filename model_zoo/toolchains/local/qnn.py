"""Compile ONNX for one chipset's NPU with onnxruntime-qnn, in a child process, and check what came out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.base.spec import Arrays
from model_zoo.runtimes import qnn as runtime_qnn
from model_zoo.runtimes.base import read_samples, write_samples
from model_zoo.runtimes.context_binary import Readback
from model_zoo.runtimes.qnn import available, require_qnn
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.local.forms import forms_for
from model_zoo.toolchains.local.placement import (
    Fallback,
    NotWholeError,
    Placement,
    explain,
    whole_placement,
    without_colours,
)
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.files import atomic_write, make_folder, work_folder
from model_zoo.utils.jobs import ChildFailedError, ChildResult, Limits, run_child

__all__ = [
    "Fallback",
    "NotWholeError",
    "Placement",
    "QnnBuild",
    "Readback",
    "available",
    "check_placement",
    "compile_qnn",
    "read_back",
    "require_qnn",
    "tool_versions",
]

_WORKER = "model_zoo.toolchains.local.qnn_compile"
_KINDS = {
    TargetRuntime.QNN_CONTEXT_BINARY: ("context", (".bin",)),
    TargetRuntime.PRECOMPILED_QNN_ONNX: ("wrapper", (".onnx", ".bin")),
    TargetRuntime.QNN_DLC: ("dlc", (".dlc",)),
    TargetRuntime.ONNX: ("context", ()),
}
# What ONNX Runtime says when the provider left nodes to the CPU: before, or after moving the graph to channel-last.
_NOT_WHOLE = ("fallback to CPU EP has been explicitly disabled", "but was not selected by that EP")
_NO_DEVICE = "QNN SetupBackend failed "
_ABORTED = ("SIGABRT", "SIGSEGV", "SIGFPE", "SIGBUS")


@dataclass(frozen=True)
class QnnBuild:
    """What a compile gave.

    Args:
        files: In the output folder, main file first; none for the runtime onnx, which is compiled only to check it.
        readback: What the binary says of itself; None for a DLC, and where the graph is not whole.
        outputs: Of the emulator, one per input sample, from the binary loaded back; None where nothing was run.
        compile_seconds: Of the compiler alone.
        emulate_seconds: Host time of loading the binary and running every sample. It says nothing about a device.
        peak_memory_bytes: Largest resident memory of the child process.
        settings: Options of the QNN provider.
    """

    files: tuple[Path, ...]
    readback: Readback | None
    placement: Placement
    outputs: list[Arrays] | None
    compile_seconds: float
    emulate_seconds: float
    peak_memory_bytes: int
    settings: dict[str, str]


def tool_versions() -> dict[str, str]:
    """Versions of everything that shapes a binary, as far as it is installed."""
    from importlib.metadata import version

    versions = {"onnxruntime": version("onnxruntime")}
    if available():
        from onnxruntime_qnn.build_and_package_info import qnn_version

        versions |= {"onnxruntime-qnn": version("onnxruntime-qnn"), "qairt": str(qnn_version)}
    return versions


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
    """Compile a float or QDQ model for a chipset's NPU, read the binary back, and run it on the emulator.

    Nothing is written to `out_dir` unless everything holds.

    Args:
        onnx: Static shapes.
        stem: Name of the files, without suffix.
        inputs: Samples for the emulator; none: it is not run.
        limits: Of each child process; by default 30 minutes and 16 GiB.

    Raises:
        UserError: QNN is not installed or does not compile for this chipset.
        NotWholeError: A part of the graph would run on the CPU. Not for the runtime onnx, where it may.
        ModelZooError: The compiler failed, or the binary is for another chipset.
    """
    require_qnn()
    if not chipset.has_htp:
        raise UserError(f"{chipset.name} has a Hexagon v{chipset.htp} NPU, which QNN does not compile for")
    kind, suffixes = _KINDS[runtime]
    options = provider_options(chipset, precision)
    emulate = kind != "dlc" and len(inputs) > 0
    job = {
        "explain": False,
        "model": str(onnx.resolve()),
        "options": options,
        "kind": kind,
        "stem": stem,
        "expected": {"soc_model": chipset.soc_model, "htp": chipset.htp},
        # The file of the runtime onnx is compiled on the device, as it is.
        "forms": [] if runtime is TargetRuntime.ONNX else forms_for(chipset, precision),
        "emulate": emulate,
    }
    with work_folder() as work_dir:
        if emulate:
            write_samples(work_dir / "inputs.npz", inputs)
        try:
            child = _run(job, work_dir, limits, chipset)
        except ChildFailedError as error:
            if not any(text in error.message for text in _NOT_WHOLE):
                raise
            placement = check_placement(onnx, chipset=chipset, precision=precision, limits=limits)
            if runtime is not TargetRuntime.ONNX:
                raise NotWholeError(placement, chipset.name) from error
            return QnnBuild((), None, placement, None, 0.0, 0.0, 0, options)
        result = child.value
        return QnnBuild(
            files=_keep([work_dir / f"{stem}{suffix}" for suffix in suffixes], out_dir),
            readback=Readback.from_json(result["readback"]) if result["readback"] else None,
            placement=whole_placement(result["assignment"]),
            outputs=read_samples(work_dir / "outputs.npz") if emulate else None,
            compile_seconds=result["compile_seconds"],
            emulate_seconds=result["emulate_seconds"],
            peak_memory_bytes=child.peak_memory_bytes,
            settings=options | result["forms"],
        )


def check_placement(onnx: Path, *, chipset: Chipset, precision: Precision, limits: Limits | None = None) -> Placement:
    """Which nodes would run on the NPU, and why the others would not.

    Raises:
        UserError: QNN is not installed.
        ModelZooError: The compiler failed for another reason than a node it refuses.
    """
    require_qnn()
    job = {"explain": True, "model": str(onnx.resolve()), "options": provider_options(chipset, precision)}
    with work_folder() as work_dir:
        child = _run(job, work_dir, limits, chipset)
    log = without_colours(child.log)
    if _NO_DEVICE in log:
        reason = log.split(_NO_DEVICE, 1)[1].splitlines()[0]
        raise ModelZooError(f"QNN does not know {chipset.name} (soc_model {chipset.soc_model}): {reason}")
    placement = explain(log, child.value["assignment"])
    if placement is None:
        raise ModelZooError(f"compile for {chipset.name}: {child.value['error']}")
    return placement


def read_back(binary: Path, chipset: Chipset) -> Readback:
    """What a context binary says of itself.

    Raises:
        UserError: QNN is not installed, or there is no such file.
        ModelZooError: It is damaged, or for another chipset.
    """
    require_qnn()
    readback = runtime_qnn.read_back(binary)
    try:
        readback.require_target(chipset.soc_model, chipset.htp)
    except ModelZooError as error:
        raise ModelZooError(f"{binary}: {error.message}") from error
    return readback


def provider_options(chipset: Chipset, precision: Precision) -> dict[str, str]:
    """Options of the QNN provider for one chipset."""
    options = {
        "soc_model": str(chipset.soc_model),  # a name it does not know would compile for another chipset
        "vtcm_mb": str(chipset.vtcm_mb),
        "htp_graph_finalization_optimization_mode": "3",
        "offload_graph_io_quantization": "0",
    }
    return options if precision.is_quantized else {**options, "enable_htp_fp16_precision": "1"}


def _run(job: dict[str, Any], work_dir: Path, limits: Limits | None, chipset: Chipset) -> ChildResult:
    try:
        return run_child(_WORKER, job, work_dir, limits or Limits(), f"compile for {chipset.name}")
    except ChildFailedError as error:
        if not any(name in error.message for name in _ABORTED):
            raise
        hint = (
            "the QNN compiler itself crashed on this graph: export parts of the model to find the operators it dies of"
        )
        raise ChildFailedError(error.message, hint, error.log) from error


def _keep(files: Sequence[Path], out_dir: Path) -> tuple[Path, ...]:
    make_folder(out_dir)
    for file in reversed(files):  # a wrapper only after its binary
        with atomic_write(out_dir / file.name) as temporary:
            shutil.copyfile(file, temporary)
    return tuple(out_dir / file.name for file in files)
