"""The QNN runtimes: ONNX compiled ahead of time for one chipset's NPU, in a child process, and checked.

The child is `run`: it compiles, reads the binary back, loads it again and runs samples through it.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from model_zoo.runtimes import qnn as runtime_qnn
from model_zoo.runtimes.base import write_samples
from model_zoo.runtimes.child import INPUTS, OUTPUTS
from model_zoo.runtimes.context_binary import Readback, read_context_binary
from model_zoo.runtimes.epcontext import EpContext
from model_zoo.runtimes.onnx import OnnxModel
from model_zoo.runtimes.qnn import available, open_context, open_session, require_qnn, run_samples
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import EMULATOR_OUTPUTS, Compiled, CompileRequest, RuntimeSupport
from model_zoo.toolchains.local.npu_rewrites import messages, rewrite_file, rewrite_generation
from model_zoo.toolchains.local.placement import NotWholeError, Placement, explain, whole_placement, without_colours
from model_zoo.toolchains.local.quantize import lower_onnx
from model_zoo.utils.code_digest import installed_versions
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.files import make_folder, work_folder
from model_zoo.utils.hashing import sha256_file
from model_zoo.utils.jobs import ChildFailedError, Limits, Worker, run_child

# What ONNX Runtime says when the provider left nodes to the CPU: before, or after moving the graph to channel-last.
_NOT_WHOLE = ("fallback to CPU EP has been explicitly disabled", "but was not selected by that EP")
_NO_DEVICE = "QNN SetupBackend failed "
_ABORTED = ("SIGABRT", "SIGSEGV", "SIGFPE", "SIGBUS")
_CRASHED = "the QNN compiler itself crashed on this graph: export parts of the model to find the operators it dies of"
_LIMITS = Limits()
#: When a DLC was made stands in its JSON records. Its records have no checksums that would have to follow.
_DLC_TIME = re.compile(rb'("timestamp": )"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"')
_NO_TIME = rb'\1"1980-01-01 00:00:00 UTC"'

#: What the compiler writes; a wrapper is a context binary and its EPContext model.
Kind = Literal["context", "wrapper", "dlc"]


class CompileJob(BaseModel, frozen=True):
    """What the child does.

    Args:
        options: Of the provider.
        kind: What it compiles to; if None, it only finds out where each node would run, and logs why.
        rewrite_for: Generation whose rewrites are applied before; None: none.
        emulate: Whether the folder holds inputs to run.
    """

    model: Path
    options: dict[str, str]
    kind: Kind | None = None
    component: str = ""
    rewrite_for: int | None = None
    emulate: bool = False
    soc_model: int
    htp: int


@dataclass(frozen=True)
class QnnRuntime:
    """One kind of file for the NPU; it is lowered as for the runtime onnx.

    Args:
        files: Their suffixes, main file first; none: it is compiled only to check it, and may be in parts.
        limits: Of each child process.
        note: What could not be checked here, and why.
    """

    support: RuntimeSupport
    kind: Kind
    files: tuple[str, ...]
    limits: Limits = _LIMITS
    note: str = ""
    lower = staticmethod(lower_onnx)
    load = staticmethod(OnnxModel)

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
        chipset, precision = request.chipset, request.precision
        if chipset is None or not chipset.has_htp:
            raise UserError(self.support.unsupported_reason(precision, chipset) or "no chipset is named")
        samples = request.samples() if request.samples and self.kind != "dlc" else ()
        settings = {
            "kind": self.kind,
            "component": request.component,
            # A file that is only checked is compiled on the device, as it is.
            "rewrite_for": rewrite_generation(chipset, precision) if self.files else None,
            "emulate": len(samples) > 0,
        }
        with work_folder() as work_dir:
            write_samples(work_dir / INPUTS, samples)
            try:
                job, what = _job(request.lowered, chipset, precision, **settings), f"compile for {chipset.name}"
                with _explained_crash():
                    child = run_child(__name__, job, work_dir, self.limits, what)
            except ChildFailedError as error:
                if not any(text in error.message for text in _NOT_WHOLE):
                    raise
                placement = check_placement(request.lowered, chipset=chipset, precision=precision, limits=self.limits)
                if self.files:
                    raise NotWholeError(placement, chipset.name) from error
                return Compiled(files=(), **vars(placement), settings=provider_options(chipset, precision))
            made = [f"{request.component}{suffix}" for suffix in self.files]
            make_folder(out_dir)
            for name in made:
                shutil.copyfile(work_dir / name, out_dir / name)
            if samples:
                shutil.copyfile(work_dir / OUTPUTS, out_dir / EMULATOR_OUTPUTS)
        note = "; ".join(filter(None, [*messages(child.value["settings"]), self.note]))
        return Compiled(**child.value, files=tuple(made), note=note, peak_memory_bytes=child.peak_memory_bytes)


def _chipset_reason(precision: Precision, chipset: Chipset) -> str | None:
    others = ", ".join(each for each in Precision if each.is_quantized and each is not precision)
    if not chipset.has_htp:
        return (
            f"{chipset.name} has a Hexagon v{chipset.htp} NPU, which QNN does not compile for (v68 and later): "
            "it takes the runtimes tflite and onnx"
        )
    if precision is Precision.FLOAT and not chipset.fp16:
        return f"the NPU of {chipset.name} has no half precision, so float does not run on it: it takes {others}"
    if precision.is_quantized and precision.scheme.weights == 16 and not chipset.generation.weights_16bit:
        return f"the NPU of {chipset.name} ({chipset.npu}) multiplies by no 16-bit weights: it takes {others}"
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
    versions = installed_versions("onnxruntime")
    if available():
        from onnxruntime_qnn.build_and_package_info import qnn_version

        versions |= {**installed_versions("onnxruntime-qnn"), "qairt": str(qnn_version)}
    return versions


def check_placement(onnx: Path, *, chipset: Chipset, precision: Precision, limits: Limits = _LIMITS) -> Placement:
    """Which nodes would run on the NPU, and why the others would not.

    Raises:
        UserError: QNN is not installed.
        ModelZooError: The compiler failed for another reason than a node it refuses.
    """
    require_qnn()
    with work_folder() as work_dir, _explained_crash():
        job = _job(onnx, chipset, precision)
        child = run_child(__name__, job, work_dir, limits, f"compile for {chipset.name}")
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


def _job(model: Path, chipset: Chipset, precision: Precision, **settings: Any) -> dict[str, Any]:
    options = provider_options(chipset, precision)
    target = {"soc_model": chipset.soc_model, "htp": chipset.htp, "options": options}
    return CompileJob.model_validate({"model": model.resolve(), **target, **settings}).model_dump(mode="json")


@contextmanager
def _explained_crash() -> Iterator[None]:
    try:
        yield
    except ChildFailedError as error:
        if not any(name in error.message for name in _ABORTED):
            raise
        raise ChildFailedError(error.message, _CRASHED, error.log) from error


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """The child's work.

    Args:
        job: Fields of `CompileJob`.
        work_dir: Takes the files.

    Returns:
        Fields of `Compiled`, or a session's `assignment` of nodes and its `error`.
    """
    request = CompileJob.model_validate(job)
    if request.kind is not None:
        return _compile(request, work_dir)
    try:
        config = {"session.record_ep_graph_assignment_info": "1"}
        return {"assignment": _assignment(open_session(request.model, request.options, config, 0)), "error": None}
    except ModelZooError as error:  # the log still tells why
        return {"assignment": None, "error": error.message}


def _compile(job: CompileJob, work_dir: Path) -> dict[str, Any]:
    wrapper, options = work_dir / f"{job.component}.onnx", dict(job.options)
    config = {"session.disable_cpu_ep_fallback": "1", "session.record_ep_graph_assignment_info": "1"}
    if job.kind == "dlc":
        options |= {"dump_qnn_ir_dlc": "1", "dump_qnn_ir_dlc_dir": str(work_dir)}
    else:
        config |= {"ep.context_enable": "1", "ep.context_file_path": str(wrapper), "ep.context_embed_mode": "0"}
    model, rewrites = rewrite_file(job.model, job.rewrite_for, work_dir)
    started = time.perf_counter()
    session = open_session(_named_by_content(model, work_dir), options, config)
    seconds = time.perf_counter() - started
    assignment = _assignment(session)
    del session
    if len(assignment) != 1:
        raise ModelZooError(f"the compiler split the graph into {len(assignment)} parts; a file takes one")
    result = {**vars(whole_placement(assignment)), "compile_seconds": seconds, "settings": job.options | rewrites}
    if job.kind == "dlc":
        dlc = _only(work_dir, "*.dlc").replace(work_dir / f"{job.component}.dlc")
        dlc.write_bytes(_DLC_TIME.sub(_NO_TIME, dlc.read_bytes()))  # the same bytes on any day
        return result
    readback = read_context_binary(_only(work_dir, "*.bin"))
    readback.require_target(job.soc_model, job.htp)
    if job.kind == "wrapper":
        EpContext(wrapper).rename_binary(f"{job.component}.bin")
    if job.emulate:
        started = time.perf_counter()
        run_samples(open_context(wrapper, readback.soc_model), work_dir)
        result["emulate_seconds"] = time.perf_counter() - started
    _only(work_dir, "*.bin").replace(work_dir / f"{job.component}.bin")
    return {**result, "readback": readback.model_dump(mode="json")}


def _named_by_content(model: Path, work_dir: Path) -> Path:
    """Link a model into the working directory under a name that its bytes alone decide.

    ONNX Runtime makes the name of a compiled graph from the path that it is given, and the name is part of the binary.
    """
    os.chdir(work_dir)
    link = Path(f"{sha256_file(model)[:16]}.onnx")
    link.symlink_to(model)
    return link


def _assignment(session: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, [(node.name, node.op_type) for node in part.get_nodes()]) for part in parts]


def _only(folder: Path, pattern: str) -> Path:
    files = list(folder.glob(pattern))
    if len(files) != 1:
        raise ModelZooError(f"the compiler wrote {len(files)} files {pattern}, not one")
    return files[0]
