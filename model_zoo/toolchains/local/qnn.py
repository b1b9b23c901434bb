"""The QNN runtimes: ONNX compiled ahead of time for one chipset's NPU, in a child process, and checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_zoo.runtimes import qnn as runtime_qnn
from model_zoo.runtimes.base import write_samples
from model_zoo.runtimes.child import INPUTS, OUTPUTS
from model_zoo.runtimes.context_binary import Readback
from model_zoo.runtimes.qnn import available, require_qnn
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import EMULATOR_OUTPUTS, Compiled, CompileRequest, RuntimeSupport
from model_zoo.toolchains.local.npu_rewrites import messages, rewrite_generation
from model_zoo.toolchains.local.placement import NotWholeError, Placement, explain, whole_placement, without_colours
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.files import make_folder, work_folder
from model_zoo.utils.jobs import ChildFailedError, Limits, Worker, run_child

_WORKER = "model_zoo.toolchains.local.qnn_compile"
# What ONNX Runtime says when the provider left nodes to the CPU: before, or after moving the graph to channel-last.
_NOT_WHOLE = ("fallback to CPU EP has been explicitly disabled", "but was not selected by that EP")
_NO_DEVICE = "QNN SetupBackend failed "
_ABORTED = ("SIGABRT", "SIGSEGV", "SIGFPE", "SIGBUS")
_CRASHED = "the QNN compiler itself crashed on this graph: export parts of the model to find the operators it dies of"
_LIMITS = Limits()


@dataclass(frozen=True)
class QnnRuntime:
    """One kind of file for the NPU; it is lowered as for the runtime onnx.

    Args:
        kind: What the compiler writes: "context", "wrapper" (a context binary and its EPContext model) or "dlc".
        files: Their suffixes, main file first; none: it is compiled only to check it, and may be in parts.
        limits: Of each child process.
        note: What could not be checked here, and why.
    """

    support: RuntimeSupport
    kind: str
    files: tuple[str, ...]
    limits: Limits = _LIMITS
    note: str = ""

    def versions(self) -> dict[str, str]:
        """Versions of the tools that make the file, or UserError."""
        require_qnn()
        return tool_versions()

    def compile(self, request: CompileRequest, out_dir: Path) -> Compiled:
        """Compile a float or QDQ model of static shapes, read the binary back, and run it on the emulator.

        Nothing is written to `out_dir` unless everything holds.

        Raises:
            UserError: QNN is not installed or does not compile for this chipset.
            NotWholeError: A part of the graph would run on the CPU, and the file is for the NPU alone.
            ModelZooError: The compiler failed, or the binary is for another chipset.
        """
        require_qnn()
        chipset = request.chipset
        if chipset is None or not chipset.has_htp:
            raise UserError(self.support.unsupported_reason(request.precision, chipset) or "no chipset is named")
        options = provider_options(chipset, request.precision)
        samples = request.samples() if request.samples and self.kind != "dlc" else ()
        job = {
            "explain": False,
            "model": str(request.lowered.resolve()),
            "options": options,
            "kind": self.kind,
            "component": request.component,
            "expected": {"soc_model": chipset.soc_model, "htp": chipset.htp},
            # A file that is only checked is compiled on the device, as it is.
            "rewrite_for": rewrite_generation(chipset, request.precision) if self.files else None,
            "emulate": len(samples) > 0,
        }
        with work_folder() as work_dir:
            write_samples(work_dir / INPUTS, samples)
            try:
                with _explained_crash():
                    child = run_child(_WORKER, job, work_dir, self.limits, f"compile for {chipset.name}")
            except ChildFailedError as error:
                if not any(text in error.message for text in _NOT_WHOLE):
                    raise
                placement = check_placement(
                    request.lowered, chipset=chipset, precision=request.precision, limits=self.limits
                )
                if self.files:
                    raise NotWholeError(placement, chipset.name) from error
                return Compiled(files=(), **vars(placement), settings=options)
            made = [f"{request.component}{suffix}" for suffix in self.files]
            make_folder(out_dir)
            for name in made:
                shutil.copyfile(work_dir / name, out_dir / name)
            if samples:
                shutil.copyfile(work_dir / OUTPUTS, out_dir / EMULATOR_OUTPUTS)
        settings = options | child.value["rewrites"]
        return Compiled(
            files=tuple(made),
            readback=child.value["readback"],
            **vars(whole_placement(child.value["assignment"])),
            note="; ".join(filter(None, [*messages(settings), self.note])),
            settings=settings,
            compile_seconds=child.value["compile_seconds"],
            emulate_seconds=child.value["emulate_seconds"],
            peak_memory_bytes=child.peak_memory_bytes,
        )


def _chipset_reason(precision: Precision, chipset: Chipset) -> str | None:
    quantized = [each for each in Precision if each.is_quantized]
    if not chipset.has_htp:
        return (
            f"{chipset.name} has a Hexagon v{chipset.htp} NPU, which QNN does not compile for (v68 and later): "
            "it takes the runtimes tflite and onnx"
        )
    if precision is Precision.FLOAT and not chipset.fp16:
        takes = ", ".join(quantized)
        return f"the NPU of {chipset.name} has no half precision, so float does not run on it: it takes {takes}"
    if precision.is_quantized and precision.scheme.weights == 16 and not chipset.generation.weights_16bit:
        takes = ", ".join(each for each in quantized if each is not precision)
        return f"the NPU of {chipset.name} ({chipset.npu}) multiplies by no 16-bit weights: it takes {takes}"
    return None


def _support(runtime: TargetRuntime, suffix: str, emulated: bool) -> RuntimeSupport:
    return RuntimeSupport(
        runtime,
        suffix,
        "onnx",
        tuple(Precision),
        needs_chipset=True,
        chipset_reason=_chipset_reason,
        layout="arranged",
        lowers_as=TargetRuntime.ONNX,
        emulated=emulated,
        inspected=True,
        code={"compile": (__name__,)},
    )


RUNTIMES = (
    QnnRuntime(_support(TargetRuntime.QNN_CONTEXT_BINARY, ".bin", True), "context", (".bin",)),
    QnnRuntime(_support(TargetRuntime.PRECOMPILED_QNN_ONNX, ".onnx", True), "wrapper", (".onnx", ".bin")),
    QnnRuntime(
        _support(TargetRuntime.QNN_DLC, ".dlc", False),
        "dlc",
        (".dlc",),
        note="not verified here: nothing on this machine can load a DLC",
    ),
)


def tool_versions() -> dict[str, str]:
    """Versions of everything that shapes a binary, as far as it is installed."""
    from importlib.metadata import version

    versions = {"onnxruntime": version("onnxruntime")}
    if available():
        from onnxruntime_qnn.build_and_package_info import qnn_version

        versions |= {"onnxruntime-qnn": version("onnxruntime-qnn"), "qairt": str(qnn_version)}
    return versions


def check_placement(onnx: Path, *, chipset: Chipset, precision: Precision, limits: Limits = _LIMITS) -> Placement:
    """Which nodes would run on the NPU, and why the others would not.

    Raises:
        UserError: QNN is not installed.
        ModelZooError: The compiler failed for another reason than a node it refuses.
    """
    require_qnn()
    job = {"explain": True, "model": str(onnx.resolve()), "options": provider_options(chipset, precision)}
    with work_folder() as work_dir, _explained_crash():
        child = run_child(_WORKER, job, work_dir, limits, f"compile for {chipset.name}")
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
    if not binary.is_file():
        raise UserError(f"there is no file {binary}")
    job, what = {"binary": str(binary.resolve()), "wrapper": None}, f"read {binary.name} back"
    with work_folder() as folder, Worker(runtime_qnn.__name__, job, folder, Limits(), what) as worker:
        readback = Readback.model_validate(worker.ask({"task": "describe"}))
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


@contextmanager
def _explained_crash() -> Iterator[None]:
    try:
        yield
    except ChildFailedError as error:
        if not any(name in error.message for name in _ABORTED):
            raise
        raise ChildFailedError(error.message, _CRASHED, error.log) from error
